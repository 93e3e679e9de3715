"""Split a text into sentences by a rule, so that no model is downloaded and words are the same everywhere."""

import re
from itertools import pairwise

_NOT_AFTER = "".join(rf"(?<!\b{word})" for word in ("Mr", "Mrs", "Ms", "Dr", "Prof", "St", "vs", "[A-Z]"))
_SENTENCE_END = re.compile(_NOT_AFTER + r"""(?<![.!?])[.!?]+["'”’)\]]*\s+(?=[^\sa-z])""")


def split_sentences(text: str) -> list[str]:
    """Split after `.`, `!` or `?` and closing quotes or brackets, before a gap and no lower-case letter.

    A title (Mr. Mrs. Ms. Dr. Prof. St.), "vs." and a single capital letter with its full stop end no
    sentence. The rule stands in for NLTK's punkt model, which must be downloaded.
    """
    ends = [end.end() for end in _SENTENCE_END.finditer(text)]
    return [text[start:end].strip() for start, end in pairwise([0, *ends, len(text)])]

"""Words of a text for metrics of the package's own: runs of letters and digits in lower case, in any script."""

import re

_WORD = re.compile(r"\w+(?:['’]\w+)*")


def words_of(text: str) -> list[str]:
    """The words in their order; an apostrophe between letters belongs to the word."""
    return _WORD.findall(text.lower())

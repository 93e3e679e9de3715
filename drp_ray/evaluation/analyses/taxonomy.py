"""The taxonomy that differences between users are counted by: keys, each with two opposite directions.

A model names a difference as it likes. To count how many *different* things set a user apart, a judge maps every
difference to one label, `KEY: DIRECTION`. "Longer" and "shorter" are two directions of one key, so they count once.
What no key fits is `other`, which is counted apart.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple


class Key(NamedTuple):
    """One thing in which users differ; `more` and `less` are its directions."""

    name: str
    dimension: str
    definition: str
    more: str
    less: str


KEYS: tuple[Key, ...] = (
    Key("length", "writing", "how much text is written", "longer", "shorter"),
    Key("vocabulary", "writing", "how rare or technical the words are", "richer", "plainer"),
    Key("formality", "writing", "whether the register is that of print or of talk", "formal", "informal"),
    Key("sentences", "writing", "how long and nested the sentences are", "complex", "simple"),
    Key("punctuation", "writing", "how much exclamation marks, dots, capitals and emoji are used", "heavy", "light"),
    Key("layout", "writing", "whether paragraphs, headings or lists order the text", "structured", "flowing"),
    Key("correctness", "writing", "how careful spelling and grammar are", "careful", "careless"),
    Key("perspective", "writing", "whether the writer speaks of himself or herself", "personal", "impersonal"),
    Key("address", "writing", "whether the reader is spoken to, asked or advised", "direct", "indirect"),
    Key("polarity", "emotion", "whether the tone is favourable", "positive", "negative"),
    Key("intensity", "emotion", "how strongly feelings are expressed", "strong", "restrained"),
    Key("humour", "emotion", "whether there are jokes, irony or play with words", "humorous", "serious"),
    Key("certainty", "emotion", "how sure of the judgement the writer sounds", "certain", "hedged"),
    Key("warmth", "emotion", "how kind the writer is to people", "warm", "cold"),
    Key("detail", "semantic", "how many particulars are given", "specific", "general"),
    Key("coherence", "semantic", "whether one thought follows from another", "ordered", "associative"),
    Key("reasoning", "semantic", "whether judgements come with reasons", "reasoned", "asserted"),
    Key("comparison", "semantic", "whether other things serve as a measure", "comparing", "isolated"),
    Key("narration", "semantic", "whether experiences are told or features described", "narrative", "descriptive"),
)
"""In three dimensions, those of DPL: writing style, emotional style, semantic style."""

OTHER = "other"


class Label(NamedTuple):
    """What a difference was mapped to; `key` is None for `other`. `direction` is 1 or -1, 0 for `other`."""

    key: str | None
    direction: int


LABELS: Mapping[str, Label] = {
    **{f"{key.name}: {key.more}": Label(key.name, 1) for key in KEYS},
    **{f"{key.name}: {key.less}": Label(key.name, -1) for key in KEYS},
    OTHER: Label(None, 0),
}
"""Every answer that can be read, and what it means."""

_AROUND = " \t\r\n*_`\"'."
"""Signs around a label that change nothing."""


def read_label(reply: str) -> Label | None:
    """The label that a reply consists of; None where it says anything else, or more than that."""
    bare = re.sub(r"\s*:\s*", ": ", reply.strip(_AROUND).lower())
    return LABELS.get(bare)

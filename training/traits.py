"""What can be seen of a user's manner in a review: six traits, each with a value that is described in a few words.

`traits_of` reads them from the generator's truth; `read_traits` from a text, by rules, for scoring what was written.
"""

from collections.abc import Mapping

from drp_ray.data.sample import Style
from drp_ray.data.sample_words import (
    BOOKISH,
    DRY,
    ENTHUSIAST,
    GRUMBLER,
    LENGTHS,
    PLAIN,
    PUNCTUATIONS,
    SLANGY,
    STRUCTURES,
    TECHNICAL,
    WARM,
    Register,
    Tone,
)

Traits = Mapping[str, str]
"""The value of every trait, by the trait's name."""

DEFINITIONS = {
    "Word choice": "which words the user prefers",
    "Tone": "how feelings show",
    "Punctuation": "how clauses are joined and sentences end",
    "Length": "how much a review covers",
    "Order": "in which order a review goes",
    "Closing": "how a review ends",
}
"""The traits in the order in which they are always named."""

REGISTERS: tuple[tuple[Register, str], ...] = (
    (PLAIN, "plain everyday words"),
    (SLANGY, "slang and chatty words"),
    (BOOKISH, "bookish and formal words"),
    (TECHNICAL, "the terms of a test report"),
)
TONES: tuple[tuple[Tone, str], ...] = (
    (ENTHUSIAST, "overflowing with feeling"),
    (WARM, "warm and kind"),
    (GRUMBLER, "grumpy, even in praise"),
    (DRY, "dry and understated"),
)
PLAIN_STOPS = "sentences that end in full stops"
JOINTS = (
    "a colon before the reason",
    "semicolons before the reason",
    PLAIN_STOPS,
    "brackets around the reason",
    "exclamation marks",
    "rows of exclamation marks",
    "trailing dots",
    "hyphens before the reason",
    "dashes before the reason",
    "lower case without capitals",
    "lower case with trailing dots",
)
"""In the order of `PUNCTUATIONS`."""

SEEN_ONLY_IN_CLAIMS = frozenset(JOINTS[:4]) | frozenset(JOINTS[7:9])
"""Lists of good and bad points have no claims and reasons, so that these cannot be seen in them."""

EXTENTS = (
    "two points and nothing else",
    "brief, with one story",
    "middling, three points and a story",
    "long, with two stories and an aside",
)
"""In the order of `LENGTHS`."""

ORDERS = {
    "paragraph": "the points first, the verdict last",
    "lists": "labelled lists of good and bad points",
    "story first": "a story before anything else",
    "verdict first": "the verdict before anything else",
}
NO_CLOSING = "no closing phrase"

VALUES = {
    "Word choice": tuple(text for _, text in REGISTERS),
    "Tone": tuple(text for _, text in TONES),
    "Punctuation": JOINTS,
    "Length": EXTENTS,
    "Order": tuple(ORDERS.values()),
    "Closing": (NO_CLOSING,),
}
"""What a trait can be, but for the closing phrases themselves."""


def traits_of(style: Style) -> Traits:
    """What a reader can see in the reviews of someone of this manner."""
    order = next(name for name, passages in STRUCTURES.items() if passages == style.structure)
    if order == "story first" and not style.length.stories:
        order = "paragraph"  # without a story the passages are the same
    joint = JOINTS[PUNCTUATIONS.index(style.punctuation)]
    return {
        "Word choice": next(text for register, text in REGISTERS if register is style.register),
        "Tone": next(text for tone, text in TONES if tone is style.tone),
        "Punctuation": PLAIN_STOPS if order == "lists" and joint in SEEN_ONLY_IN_CLAIMS else joint,
        "Length": EXTENTS[LENGTHS.index(style.length)],
        "Order": ORDERS[order],
        "Closing": closing(style),
    }


def closing(style: Style) -> str:
    """The closing phrase in quotation marks, or that there is none."""
    if not style.sign_off:
        return NO_CLOSING
    return f'"{style.sign_off.lower() if style.punctuation.lower else style.sign_off}"'


def differing(user: Traits, others: list[Traits]) -> Traits:
    """The traits in which a user is unlike every one of the others."""
    return {name: value for name, value in user.items() if all(other[name] != value for other in others)}

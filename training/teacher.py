"""What a reply to each kind of prompt ought to be, written from the generator's truth.

A block or a sentence of a reply names one trait, always in the same order. Nothing is said that the prompt's texts do
not show.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

from training.traits import DEFINITIONS, Traits

NO_DIFFERENCE = "No difference distinguishes this user."
CONFIRMED_SHARE = 0.9
"""Of the true differences, in a list that is to be validated."""
SHARED_SHARE, WRONG_SHARE = 0.3, 0.25
"""Of the traits that are no differences, those that such a list names rightly of the user, and those it gets wrong."""
MISREAD_SHARE = 0.1
"""Of the true differences, those that it names with a wrong value."""


def difference_blocks(differences: Traits) -> str:
    """The reply of an extractor or validator: the traits and values that it names."""
    if not differences:
        return NO_DIFFERENCE
    blocks = [_block(name, value) for name, value in differences.items()]
    return "---\n" + "\n---\n".join(blocks) + "\n---"


def _block(name: str, value: str) -> str:
    return f"[{name}]\nDefinition: {DEFINITIONS[name]}\nDifference Description: {value}"


def noted_differences(true: Traits, user: Traits, values: Mapping[str, Sequence[str]], rng: Random) -> Traits:
    """A list to be validated: most of the true differences, and false ones among them.

    A false one has the right value of the user, which someone else shares, or a value that is not the user's.
    """
    noted = {}
    for name, value in user.items():
        wrong = rng.choice([other for other in values[name] if other != value])
        chance = rng.random()
        if name in true:
            if chance < CONFIRMED_SHARE:
                noted[name] = value if chance > MISREAD_SHARE else wrong
        elif chance < SHARED_SHARE + WRONG_SHARE:
            noted[name] = value if chance < SHARED_SHARE else wrong
    return noted


def confirmed(noted: Traits, true: Traits) -> Traits:
    """The noted differences that are true ones."""
    return {name: value for name, value in noted.items() if true.get(name) == value}


def profile_summary(user: Traits, differences: Sequence[Traits] = ()) -> str:
    """The reply of a summarizer: first what recurs in the differences, then what only the reviews show."""
    recurring = recurring_traits(differences)
    rest = {name: value for name, value in user.items() if name not in recurring}
    parts = [_sentences("What sets this user apart.", recurring), _sentences("What else there is.", rest)]
    return "[Summary]: " + " ".join(part for part in parts if part)


def recurring_traits(differences: Sequence[Traits]) -> Traits:
    """Of every trait that any comparison names, the value that most of them give; the first of equally many."""
    found = {name: [each[name] for each in differences if name in each] for name in DEFINITIONS}
    return {name: Counter(values).most_common(1)[0][0] for name, values in found.items() if values}


def _sentences(introduction: str, traits: Traits) -> str:
    return " ".join([introduction, *(f"{name}: {value}." for name, value in traits.items())]) if traits else ""

"""The words that the writer is trained on, and those that are held back to see whether it reads or recites."""

from dataclasses import replace
from random import Random

from drp_ray.data.sample_words import EMBEDDED, Aspect, Kind, Words

NAME_SLOTS = frozenset({"adjective", "place", "first", "last", "food", "occasion", "mood", "thing", "brand", "model"})
"""What titles are made of. Invented words stand here as well, so that names must be read."""

INVENTED_SHARE = 0.4
ONSETS = (
    "b",
    "br",
    "c",
    "d",
    "dr",
    "f",
    "g",
    "gr",
    "h",
    "k",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "r",
    "s",
    "st",
    "t",
    "th",
    "v",
    "w",
)
VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "oo")
CODAS = ("", "l", "n", "r", "s", "th", "ck", "m", "nd", "rt")

CLOSING_WORDS = (
    *(
        "so",
        "that",
        "my",
        "is",
        "all",
        "for",
        "now",
        "back",
        "to",
        "the",
        "what",
        "you",
        "it",
        "said",
        "enough",
        "done",
    ),
    *("here", "on", "with", "a", "and", "in", "then", "of", "we", "I", "go", "this", "was", "your", "time", "day"),
    *("word", "rest", "home", "good", "more", "later", "again", "end", "kind", "thanks", "greetings", "regards"),
)
INVENTED_CLOSINGS = 6

MORE_COMPANIONS = ("my uncle", "my aunt", "my colleague", "my cousin", "my nephew", "my mother-in-law", "the postman")
MORE_PLACES = ("the cellar", "my office", "the spare room", "our camper van", "the allotment", "a cabin by the lake")
MORE_TIMES = ("at the weekend", "on early trains", "after supper", "between two lessons", "during the holidays")
MORE_SIGN_OFFS = (
    "Make of it what you will",
    "Thanks for reading",
    "So much for that",
    "Back to work now",
    "Your mileage may vary",
    "Over and out",
    "That is my honest view",
    "See you next time",
)
MORE_ASIDES = (
    "I had promised myself not to buy anything this year",
    "My phone rang twice while I was writing this",
    "The shop round the corner closed before I could ask them",
    "I wrote to the maker once and never got an answer",
)


def training_words() -> Words:
    """The embedded words without those that are held back, and some more."""
    known = _split(EMBEDDED, held_back=False)
    return replace(
        known,
        companions=known.companions + MORE_COMPANIONS,
        places=known.places + MORE_PLACES,
        times=known.times + MORE_TIMES,
        sign_offs=known.sign_offs + MORE_SIGN_OFFS,
        asides=known.asides + MORE_ASIDES,
    )


def held_back_words() -> Words:
    """Names, companions, places, times, stories, asides and closing phrases that no training text holds."""
    return _split(EMBEDDED, held_back=True)


def with_invented_names(kind: Kind, rng: Random) -> Kind:
    """The kind with a word that nobody knows in some of its names."""
    slots = {
        name: (invented_word(rng),) if name in NAME_SLOTS and rng.random() < INVENTED_SHARE else choices
        for name, choices in kind.slots.items()
    }
    return kind._replace(slots=slots)


def with_invented_closings(words: Words, rng: Random) -> Words:
    """The words with closing phrases that nobody knows, so that they must be read."""
    return replace(words, sign_offs=tuple(_invented_closing(rng) for _ in range(INVENTED_CLOSINGS)))


def _invented_closing(rng: Random) -> str:
    """Two to six words in any order, now and then a name among them."""
    chosen = [rng.choice(CLOSING_WORDS) for _ in range(rng.randint(2, 6))]
    if rng.random() < INVENTED_SHARE:
        chosen[rng.randrange(len(chosen))] = invented_word(rng)
    phrase = " ".join(chosen)
    return phrase[:1].upper() + phrase[1:]


def invented_word(rng: Random) -> str:
    """A word of two or three syllables with a capital."""
    syllables = (rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.choice((2, 2, 3))))
    return "".join(syllables).capitalize()


def _split(words: Words, held_back: bool) -> Words:
    return replace(
        words,
        kinds=tuple(_split_kind(kind, held_back) for kind in words.kinds),
        companions=_part(words.companions, 2, held_back),
        places=_part(words.places, 2, held_back),
        times=_part(words.times, 1, held_back),
        asides=_part(words.asides, 3, held_back),
        sign_offs=_part(words.sign_offs, 2, held_back),
    )


def _split_kind(kind: Kind, held_back: bool) -> Kind:
    slots = {
        name: _part(choices, max(1, len(choices) // 5), held_back) if name in NAME_SLOTS else choices
        for name, choices in kind.slots.items()
    }
    first, *others = kind.aspects
    aspects = (_split_aspect(first, held_back), *others)
    return kind._replace(slots=slots, stories=_part_of_stories(kind.stories, held_back), aspects=aspects)


def _part_of_stories(stories: tuple[str, ...], held_back: bool) -> tuple[str, ...]:
    return stories[3:] if held_back else stories[:4]  # a long review tells two, so that one of the two is known


def _split_aspect(aspect: Aspect, held_back: bool) -> Aspect:
    return aspect._replace(good=_part(aspect.good, 1, held_back), bad=_part(aspect.bad, 1, held_back))


def _part(choices: tuple[str, ...], n_held_back: int, held_back: bool) -> tuple[str, ...]:
    return choices[-n_held_back:] if held_back else choices[:-n_held_back]

"""Examples to train on: prompts that the package's own pack renders, and the teacher's replies to them.

An example is a tree: several conversations that begin with the same text, such as the extraction and the validation
of one comparison. Example number i of a seed is always the same, so that training can go on where it stopped.
"""

from collections.abc import Mapping
from functools import cache
from random import Random
from typing import Any, NamedTuple

from drp_ray.config import Dimension
from drp_ray.data.sample import SampleItem, Style, draw_item, draw_review, draw_style
from drp_ray.data.sample_words import Words
from drp_ray.engines.base import Message
from drp_ray.llm.replies import parse_features, render_features
from drp_ray.prompts.pack import PromptPack
from drp_ray.prompts.prompt import Prompt
from drp_ray.schema import Row
from training.teacher import confirmed, difference_blocks, noted_differences, profile_summary
from training.traits import VALUES, Traits, differing, traits_of
from training.worlds import INVENTED_SHARE, with_invented_closings, with_invented_names

DIMENSIONS: tuple[Dimension, ...] = ("writing", "emotion", "semantic")
REPRESENTATIVES, PAST_REVIEWS = (2, 2, 3), (2, 3, 3)
SHARES = {"comparison": 0.35, "history": 0.2, "changed": 0.3, "strangers": 0.15}
"""Of the kinds of examples."""
VALIDATIONS, STRANGERS, PROFILES = 4, 2, 3
FALSE_SHARE = 0.06
"""Of the differences that a summarizer reads, those that are wrong."""
CHANGED_SHARE = 0.5
"""Of the traits of someone whose profile is beside past reviews that are written otherwise."""


class Exchange(NamedTuple):
    """A prompt and the reply to it."""

    job: str
    prompt: "Prompt | Question"
    reply: str


class World(NamedTuple):
    """Where examples come from."""

    words: Words
    with_invented_names: bool = True


class Question(NamedTuple):
    """What is asked of a prompt's material only in training, so that every text in it is read."""

    prompt: Prompt
    about: str

    @property
    def variables(self) -> Mapping[str, Any]:
        """What the prompt is made from."""
        return self.prompt.variables

    def messages(self) -> list[Message]:
        """The prompt's messages with the question instead of the instruction."""
        system, user = self.prompt.messages()
        shared = user["content"].rpartition("\n\nTask:")[0]
        return [system, {"role": "user", "content": f"{shared}\n\n{self.about}"}]


def example(number: int, seed: int, world: World) -> list[Exchange]:
    """The conversations of one example; their prompts begin alike."""
    rng = Random(f"example {number} of seed {seed}")
    make = {
        "comparison": comparison_example,
        "history": history_example,
        "changed": changed_example,
        "strangers": strangers_example,
    }
    (kind,) = rng.choices(list(SHARES), list(SHARES.values()))
    if world.with_invented_names and rng.random() < INVENTED_SHARE:
        world = world._replace(words=with_invented_closings(world.words, rng))
    return make[kind](world, rng)


def comparison_example(world: World, rng: Random) -> list[Exchange]:
    """The differences of one comparison: found, and validated in several lists with false ones among them.

    Besides, the manner of everyone in it is asked for.
    """
    item = _item(world, rng)
    styles = [draw_style(world.words, rng) for _ in range(1 + rng.choice(REPRESENTATIVES))]
    user, *others = (traits_of(style) for style in styles)
    own, *representatives = (draw_review(item, style, 0, rng) for style in styles)
    comparison: Row = {**_described(item), "review": own, "representatives": representatives}
    true = differing(user, others)
    prompt = pack().open_extraction(comparison, DIMENSIONS)
    found = Exchange("extract", prompt, difference_blocks(true))
    names = ["The user's own review of this item:", *(f"Other person {n}" for n in range(1, len(styles)))]
    described = [
        Exchange("describe", Question(prompt, name), profile_summary(traits))
        for name, traits in zip(names, (user, *others), strict=True)
    ]
    return [found, *(_validation(comparison, true, user, world, rng) for _ in range(VALIDATIONS)), *described]


def _validation(comparison: Row, true: Traits, user: Traits, world: World, rng: Random) -> Exchange:
    noted = noted_differences(true, user, possible_values(world.words, user), rng)
    prompt = pack().validation(comparison, difference_blocks(noted))
    return Exchange("validate", prompt, difference_blocks(confirmed(noted, true)))


def history_example(world: World, rng: Random) -> list[Exchange]:
    """What is made of one user's past reviews: summaries, and reviews from them with a summary and without one."""
    style = draw_style(world.words, rng)
    user = traits_of(style)
    history = [_reviewed(_item(world, rng), style, rng) for _ in range(rng.choice(PAST_REVIEWS))]
    found = [[_differences(user, world, rng) for _ in range(rng.randint(1, len(history)))] for _ in range(2)]
    exchanges = [Exchange("summarize", pack().profile_summary(history), profile_summary(user))]
    exchanges += [_summary_of_differences(user, history, each) for each in found if any(each)]
    return [
        *exchanges,
        *(_writing("write from reviews", style, history, None, world, rng) for _ in range(2)),
        _writing("write", style, history, _profile(style, world, rng), world, rng),
    ]


def _summary_of_differences(user: Traits, history: list[Row], found: list[Traits]) -> Exchange:
    seen = [(past, traits) for past, traits in zip(history, found, strict=False) if traits]
    differences = [{"item_title": past["item_title"], "text": as_read(traits)} for past, traits in seen]
    reply = profile_summary(user, [traits for _, traits in seen])
    return Exchange("summarize differences", pack().profile_summary(history, differences), reply)


def changed_example(world: World, rng: Random) -> list[Exchange]:
    """Reviews by several users who have the same past reviews and other profiles, which say what is true of them.

    So must a profile be read: nothing else in these prompts tells what its user does.
    """
    style = draw_style(world.words, rng)
    history = [_reviewed(_item(world, rng), style, rng) for _ in range(rng.choice(PAST_REVIEWS))]
    users = [_changed(style, world, rng) for _ in range(PROFILES)]
    return [_writing("write by profile", user, history, _profile(user, world, rng), world, rng) for user in users]


def _changed(style: Style, world: World, rng: Random) -> Style:
    """Someone of whom about every second trait is another one."""
    other = draw_style(world.words, rng)
    together = [
        ("register", "openers", "frames", "claims", "words"),
        ("tone", "adverb"),
        ("punctuation",),
        ("length",),
        ("structure", "labels"),
        ("sign_off",),
    ]
    changed = [name for names in together if rng.random() < CHANGED_SHARE for name in names]
    return style._replace(**{name: getattr(other, name) for name in changed})


def _profile(style: Style, world: World, rng: Random) -> str:
    """A true summary, in which some traits are said to set the user apart."""
    others = [traits_of(draw_style(world.words, rng)) for _ in range(rng.choice(REPRESENTATIVES))]
    user = traits_of(style)
    return profile_summary(user, [differing(user, others)])


def _writing(job: str, style: Style, history: list[Row], profile: str | None, world: World, rng: Random) -> Exchange:
    """A review of another item."""
    target = _reviewed(_item(world, rng), style, rng)
    known = profile and profile.removeprefix("[Summary]: ")
    return Exchange(job, pack().personal_review(_asked(target), history, known), _review(target))


def _differences(user: Traits, world: World, rng: Random) -> Traits:
    """What a comparison with others on one item may have found, with now and then a wrong value."""
    others = [traits_of(draw_style(world.words, rng)) for _ in range(rng.choice(REPRESENTATIVES))]
    values = possible_values(world.words, user)
    return {
        name: rng.choice(values[name]) if rng.random() < FALSE_SHARE else value
        for name, value in differing(user, others).items()
    }


def as_read(differences: Traits) -> str:
    """Differences as the summarizer reads them."""
    return render_features(parse_features(difference_blocks(differences)))


def strangers_example(world: World, rng: Random) -> list[Exchange]:
    """Reviews by people without past reviews: of some nothing is known, of the others a profile."""
    styles = [draw_style(world.words, rng) for _ in range(STRANGERS + PROFILES)]
    unknown = [_writing("write for strangers", style, [], None, world, rng) for style in styles[:STRANGERS]]
    known = [
        _writing("write from a profile", style, [], _profile(style, world, rng), world, rng)
        for style in styles[STRANGERS:]
    ]
    return unknown + known


def possible_values(words: Words, user: Traits) -> dict[str, list[str]]:
    """The values that every trait can have, for someone who writes with or without capitals as the user does."""
    is_lower = user["Punctuation"].startswith("lower")
    closings = [f'"{phrase.lower() if is_lower else phrase}"' for phrase in words.sign_offs]
    return {name: [*values, *closings] if name == "Closing" else list(values) for name, values in VALUES.items()}


@cache
def pack() -> PromptPack:
    """The package's prompts."""
    return PromptPack.load()


def _item(world: World, rng: Random) -> SampleItem:
    kind = rng.choice(world.words.kinds)
    return draw_item(with_invented_names(kind, rng) if world.with_invented_names else kind, "item", rng)


def _reviewed(item: SampleItem, style: Style, rng: Random) -> Row:
    described = {"item_title": item.title, "item_description": item.description}
    return draw_review(item, style, 0, rng) | described


def _described(item: SampleItem) -> Row:
    return {"title": item.title, "description": item.description}


def _asked(target: Row) -> Row:
    return {name: value for name, value in target.items() if name != "text"}


def _review(target: Row) -> str:
    return f"[Review]: {target['text']}"

"""Examples to train on: prompts that the package's own pack renders, and the teacher's replies to them.

An example is a tree: several conversations that begin with the same text, such as the extraction and the validation
of one comparison. Example number i of a seed is always the same, so that training can go on where it stopped.
"""

from functools import cache
from random import Random
from typing import NamedTuple

from drp_ray.config import Dimension
from drp_ray.data.sample import SampleItem, Style, draw_item, draw_review, draw_style
from drp_ray.data.sample_words import Words
from drp_ray.llm.replies import parse_features, render_features
from drp_ray.prompts.pack import PromptPack
from drp_ray.prompts.prompt import Prompt
from drp_ray.schema import Row
from training.teacher import confirmed, difference_blocks, noted_differences, profile_summary
from training.traits import VALUES, Traits, differing, traits_of
from training.worlds import with_invented_names

DIMENSIONS: tuple[Dimension, ...] = ("writing", "emotion", "semantic")
REPRESENTATIVES, PAST_REVIEWS = (2, 2, 3), (2, 3, 3)
COMPARISON_SHARE, HISTORY_SHARE = 0.5, 0.42
"""The rest are examples in which nothing is known of the user."""
STRANGERS = 4
FALSE_SHARE = 0.06
"""Of the differences that a summarizer reads, those that are wrong."""


class Exchange(NamedTuple):
    """A prompt and the reply to it."""

    job: str
    prompt: Prompt
    reply: str


class World(NamedTuple):
    """Where examples come from."""

    words: Words
    with_invented_names: bool = True


def example(number: int, seed: int, world: World) -> list[Exchange]:
    """The conversations of one example; their prompts begin alike."""
    rng = Random(f"example {number} of seed {seed}")
    share = rng.random()
    if share < COMPARISON_SHARE:
        return comparison_example(world, rng)
    return history_example(world, rng) if share < COMPARISON_SHARE + HISTORY_SHARE else strangers_example(world, rng)


def comparison_example(world: World, rng: Random) -> list[Exchange]:
    """The differences of one comparison: found, and twice validated in lists with false ones among them."""
    item = _item(world, rng)
    styles = [draw_style(world.words, rng) for _ in range(1 + rng.choice(REPRESENTATIVES))]
    user, *others = (traits_of(style) for style in styles)
    own, *representatives = (draw_review(item, style, 0, rng) for style in styles)
    comparison: Row = {**_described(item), "review": own, "representatives": representatives}
    true = differing(user, others)
    found = Exchange("extract", pack().open_extraction(comparison, DIMENSIONS), difference_blocks(true))
    return [found, *(_validation(comparison, true, user, world, rng) for _ in range(2))]


def _validation(comparison: Row, true: Traits, user: Traits, world: World, rng: Random) -> Exchange:
    noted = noted_differences(true, user, possible_values(world.words, user), rng)
    prompt = pack().validation(comparison, difference_blocks(noted))
    return Exchange("validate", prompt, difference_blocks(confirmed(noted, true)))


def history_example(world: World, rng: Random) -> list[Exchange]:
    """What is made of one user's past reviews: two summaries, and reviews with each of them and with none."""
    style = draw_style(world.words, rng)
    user = traits_of(style)
    history = [_reviewed(_item(world, rng), style, rng) for _ in range(rng.choice(PAST_REVIEWS))]
    found = [_differences(user, world, rng) for _ in range(rng.randint(1, len(history)))]
    seen = [(past, traits) for past, traits in zip(history, found, strict=False) if traits]
    differences = [{"item_title": past["item_title"], "text": as_read(traits)} for past, traits in seen]
    plain, by_differences = profile_summary(user), profile_summary(user, [traits for _, traits in seen])
    exchanges = [Exchange("summarize", pack().profile_summary(history), plain)]
    if differences:
        exchanges.append(
            Exchange("summarize differences", pack().profile_summary(history, differences), by_differences)
        )
    for summary in (None, plain, by_differences)[: 1 + len(exchanges)]:
        target = _reviewed(_item(world, rng), style, rng)
        known = summary and summary.removeprefix("[Summary]: ")
        job = "write" if summary else "write from reviews"
        exchanges.append(Exchange(job, pack().personal_review(_asked(target), history, known), _review(target)))
    return exchanges


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
    """Reviews by people of whom nothing is known."""
    targets = [_reviewed(_item(world, rng), draw_style(world.words, rng), rng) for _ in range(STRANGERS)]
    return [Exchange("write for strangers", pack().personal_review(_asked(row)), _review(row)) for row in targets]


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

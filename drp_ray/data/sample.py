"""The embedded dataset: invented users, each with a manner of writing that can be recognised.

A review is put together from the clauses in the tables of `sample_words`. What is said (which aspects,
praise or complaint) follows from the item and the rating; how it is said (register, tone, punctuation,
structure, length, pet words) follows from the user alone. Every user and every item has its own generator,
seeded by its number, so that any slice of the dataset can be made without the rest.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate, cycle
from random import Random
from typing import Any, NamedTuple

import pyarrow as pa

from drp_ray import schema
from drp_ray.data.sample_words import (
    EMBEDDED,
    GOOD_SHARE,
    LENGTHS,
    LIST_LABELS,
    PUNCTUATIONS,
    SIGN_OFF_SHARE,
    STRUCTURES,
    Aspect,
    Kind,
    Length,
    Punctuation,
    Register,
    Tone,
    Words,
)

MIN_ITEMS = 24
"""However few users there are, since a profile and its target need distinct items."""

PROFILE_LENGTHS = range(8, 21)
NEWCOMER_EVERY, NEWCOMER_AT, NEWCOMER_LENGTH = 50, 17, 2
"""One user in fifty has hardly written anything yet, as in any real dataset."""

USERS_PER_CHUNK = 2_000
FIRST_REVIEW_MS = 1_420_070_400_000  # 2015-01-01
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


class Style(NamedTuple):
    """One user's manner: a choice of each trait, and the few pet phrases used again and again."""

    register: Register
    tone: Tone
    punctuation: Punctuation
    length: Length
    structure: tuple[str, ...]
    labels: tuple[str, str]
    openers: tuple[str, ...]
    frames: tuple[str, ...]
    claims: dict[str, tuple[str, ...]]
    words: dict[str, str]
    adverb: str
    sign_off: str | None
    life: dict[str, str]
    asides: tuple[str, ...]


class SampleItem(NamedTuple):
    """A catalogue entry, with what people tend to think of it (`quality` is a rating before noise)."""

    item_id: str
    kind: Kind
    title: str
    name: str
    description: str
    quality: float
    strengths: tuple[Aspect, ...]


class Opinion(NamedTuple):
    """What one user has to say about one item: the aspects that get praise and those that get blame."""

    item: SampleItem
    rating: int
    good: tuple[Aspect, ...]
    bad: tuple[Aspect, ...]

    @property
    def mood(self) -> str:
        """The rating as one of the keys of verdicts, titles and remarks."""
        if self.rating == 3:
            return "mixed"
        return "good" if self.rating > 3 else "bad"

    def points(self) -> list[tuple[str, Aspect]]:
        """The aspects with their side (`good` or `bad`), praise first."""
        return [("good", aspect) for aspect in self.good] + [("bad", aspect) for aspect in self.bad]


# --- The dataset -----------------------------------------------------------------------------------------


def sample_dataset(n_users: int, seed: int, words: Words = EMBEDDED) -> tuple[pa.Table, pa.Table]:
    """Make `n_users` users (`schema.USERS`) and the items they write about (`schema.CATALOGUE`).

    The same arguments give the same tables, byte for byte. Raises ValueError for fewer than one user.
    """
    chunks = [
        sample_users(n_users, seed, start, min(start + USERS_PER_CHUNK, n_users), words)
        for start in range(0, n_users, USERS_PER_CHUNK)
    ]
    items = sample_items(n_users, seed, words)
    return pa.concat_tables(chunks), items


def sample_users(n_users: int, seed: int, start: int, stop: int, words: Words = EMBEDDED) -> pa.Table:
    """Make the users numbered `start` to `stop - 1` of a dataset of `n_users`, as `schema.USERS`.

    Raises ValueError where the numbers are not within the dataset.
    """
    _check_size(n_users)
    if not 0 <= start <= stop <= n_users:
        raise ValueError(f"users {start} to {stop} are not within the {n_users} users of the dataset")
    rows = [_user(words, n_users, seed, number) for number in range(start, stop)]
    return pa.Table.from_pylist(rows, schema=schema.USERS)


def sample_items(n_users: int, seed: int, words: Words = EMBEDDED) -> pa.Table:
    """Make the catalogue (`schema.CATALOGUE`) of the dataset of `n_users`: about as many items as users.

    A profile holds 14 reviews on average and so, if there are enough users, an item has 14 reviewers.
    """
    _check_size(n_users)
    items = [_item(words, n_users, seed, number) for number in range(_n_items(n_users))]
    columns = [[getattr(item, name) for item in items] for name in schema.CATALOGUE.names]
    return pa.table(columns, schema=schema.CATALOGUE)


def _check_size(n_users: int) -> None:
    if n_users < 1:
        raise ValueError(f"a dataset needs at least one user, not {n_users}")


def _n_items(n_users: int) -> int:
    return max(MIN_ITEMS, n_users)


def _numbered(prefix: str, number: int, count: int, at_least: int) -> str:
    width = max(at_least, len(str(count - 1)))
    return f"{prefix}-{number:0{width}d}"


@lru_cache(maxsize=200_000)
def _item(words: Words, n_users: int, seed: int, number: int) -> SampleItem:
    """An item of a dataset, which is the same whoever writes about it."""
    kind = words.kinds[number % len(words.kinds)]
    item_id = _numbered("item", number, _n_items(n_users), at_least=4)
    return draw_item(kind, item_id, Random(f"item {number} of seed {seed}"))


def draw_item(kind: Kind, item_id: str, rng: Random) -> SampleItem:
    """An item of this kind."""
    slots = {name: rng.choice(choices) for name, choices in kind.slots.items()}
    slots |= {f"{name}_lower": word.lower() for name, word in slots.items()}
    return SampleItem(
        item_id=item_id,
        kind=kind,
        title=kind.title.format_map(slots),
        name=kind.name.format_map(slots),
        description=kind.description.format_map(slots),
        quality=rng.uniform(2.2, 5.3),
        strengths=tuple(rng.sample(kind.aspects, 2)),
    )


def sample_style(seed: int, number: int, words: Words = EMBEDDED) -> Style:
    """The manner of a user, which is the same whatever the number of users: what the texts follow from."""
    return draw_style(words, _rng_of_user(seed, number))


def _rng_of_user(seed: int, number: int) -> Random:
    return Random(f"user {number} of seed {seed}")


def _user(words: Words, n_users: int, seed: int, number: int) -> dict[str, Any]:
    rng = _rng_of_user(seed, number)
    style = draw_style(words, rng)
    length = NEWCOMER_LENGTH if number % NEWCOMER_EVERY == NEWCOMER_AT else rng.choice(PROFILE_LENGTHS)
    item_numbers = rng.sample(range(_n_items(n_users)), length + 1)
    items = [_item(words, n_users, seed, item_number) for item_number in item_numbers]
    timestamps = _timestamps(len(items), rng)
    reviews = [draw_review(item, style, timestamp, rng) for item, timestamp in zip(items, timestamps, strict=True)]
    user_id = _numbered("user", number, n_users, at_least=5)
    return {"user_id": user_id, "profile": reviews[:-1], "target": reviews[-1]}


def _timestamps(count: int, rng: Random) -> list[int]:
    """Draw increasing times, days to weeks apart."""
    gaps = (rng.randrange(1, 60) * DAY_MS + rng.randrange(-600, 600) * MINUTE_MS for _ in range(count))
    return list(accumulate(gaps, initial=FIRST_REVIEW_MS + rng.randrange(1_000) * DAY_MS))[1:]


def draw_style(words: Words, rng: Random) -> Style:
    """A manner of writing."""
    register = rng.choice(words.registers)
    tone = rng.choice(words.tones)
    return Style(
        register=register,
        tone=tone,
        punctuation=rng.choice(PUNCTUATIONS),
        length=rng.choice(LENGTHS),
        structure=STRUCTURES[rng.choice(list(STRUCTURES))],
        labels=rng.choice(LIST_LABELS),
        openers=tuple(rng.sample(register.openers, 2)),
        frames=tuple(rng.sample(register.frames, 2)),
        claims={side: tuple(rng.sample(claims, 3)) for side, claims in register.claims.items()},
        words={side: rng.choice(choices) for side, choices in register.words.items()},
        adverb=rng.choice(tone.adverbs),
        sign_off=rng.choice(words.sign_offs) if rng.random() < SIGN_OFF_SHARE else None,
        life={
            "place": rng.choice(words.places),
            "time": rng.choice(words.times),
            "companion": rng.choice(words.companions),
        },
        asides=words.asides,
    )


# --- One review ------------------------------------------------------------------------------------------


def draw_review(item: SampleItem, style: Style, timestamp: int, rng: Random) -> dict[str, Any]:
    """What someone of this manner writes about an item."""
    opinion = _opinion(item, style, rng)
    title = _title(opinion, style, rng)
    text = " ".join(_with_stop(sentence, style.punctuation, rng) for sentence in _sentences(opinion, style, rng))
    if style.punctuation.lower:
        title, text = title.lower(), text.lower()
    return {
        "item_id": item.item_id,
        "rating": float(opinion.rating),
        "title": title,
        "text": text,
        "timestamp": timestamp,
    }


def _opinion(item: SampleItem, style: Style, rng: Random) -> Opinion:
    """Rate the item and divide some of its aspects into praised and blamed, praising its strengths first."""
    rating = min(5, max(1, round(item.quality + style.tone.leniency + rng.gauss(0.0, 0.7))))
    aspects = rng.sample(item.kind.aspects, style.length.aspects)
    aspects.sort(key=lambda aspect: aspect not in item.strengths)
    n_good = round(GOOD_SHARE[rating] * len(aspects))
    return Opinion(item, rating, tuple(aspects[:n_good]), tuple(aspects[n_good:]))


def _title(opinion: Opinion, style: Style, rng: Random) -> str:
    template = rng.choice(style.register.titles[opinion.mood])
    good, bad = (aspects[0].name if aspects else "" for aspects in (opinion.good, opinion.bad))
    title = _capitalised(template.format(noun=opinion.item.kind.noun, good=good, bad=bad))
    stressed = rng.random() < style.punctuation.stop_share
    return title + style.punctuation.stop.replace(".", "") if stressed else title


def _sentences(opinion: Opinion, style: Style, rng: Random) -> list[str]:
    """Write the passages in the order of the user's structure, as sentences that still lack their end."""
    length, life, kind = style.length, style.life, opinion.item.kind
    remark = rng.choice(style.tone.remarks[opinion.mood])
    passages = {
        "opener": [rng.choice(style.openers).format(name=opinion.item.name)] if length.opener else [],
        "stories": [story.format_map(life) for story in rng.sample(kind.stories, length.stories)],
        "asides": rng.sample(style.asides, length.asides),
        "remark": [remark.format_map(life)],
        "verdict": [rng.choice(style.register.verdicts[opinion.mood])],
    }
    if "lists" in style.structure:
        passages["lists"] = _lists(opinion, style, rng)
    else:
        passages["aspects"] = _points(opinion, style, rng)
    sign_off = [style.sign_off] if style.sign_off else []
    return [sentence for name in style.structure for sentence in passages[name]] + sign_off


def _points(opinion: Opinion, style: Style, rng: Random) -> list[str]:
    """One sentence an aspect: a claim and its reason, in the user's words and joined in the user's way."""
    frames = _in_random_turn(style.frames, rng)
    claims = {side: _in_random_turn(templates, rng) for side, templates in style.claims.items()}
    points = []
    for side, aspect in opinion.points():
        word = style.words[side]
        claim = next(claims[side]).format(aspect=aspect.name, very=style.adverb, word=word)
        reason = next(frames).format(reason=rng.choice(aspect.clauses(side)), trial=opinion.item.kind.trial)
        joint = style.punctuation.joint
        points.append(joint.format(claim=claim, reason=reason, Reason=_capitalised(reason)))
    return points


def _lists(opinion: Opinion, style: Style, rng: Random) -> list[str]:
    """Two sentences, what is good and what is bad, with nothing but the reasons."""
    entries: dict[str, list[str]] = {"good": [], "bad": []}
    for side, aspect in opinion.points():
        entries[side].append(f"{aspect.name} ({rng.choice(aspect.clauses(side))})")
    labelled = zip(style.labels, entries.values(), strict=True)
    return [f"{label}: {'; '.join(side) or 'nothing to speak of'}" for label, side in labelled]


def _in_random_turn(phrases: tuple[str, ...], rng: Random) -> Iterator[str]:
    """Every phrase once, in a random order, before any comes again, so that none comes twice in a row."""
    return cycle(rng.sample(phrases, len(phrases)))


def _with_stop(sentence: str, punctuation: Punctuation, rng: Random) -> str:
    stop = punctuation.stop if rng.random() < punctuation.stop_share else "."
    return _capitalised(sentence) + stop


def _capitalised(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]

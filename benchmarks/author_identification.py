"""How often the author of a real review is found among five, by what is known of the five otherwise.

    python -m benchmarks.author_identification data/music/test

Prints the share that each way attributes to the right author, with reviewers of the same item (as the controls do) and
with any users; and the share of reviews by strangers that it attributes to the user, which is a fifth where nothing but
the way of writing decides. The last lines attribute by the single nearest review instead of all reviews of an author.
Characters are also weighed by raw counts, as scikit-learn does by default.
"""

import argparse
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from drp_ray.evaluation.authorship import ATTRIBUTIONS, AUTHORS, Attribution, Characters, credit, known_text
from drp_ray.inputs.dataset import Dataset
from drp_ray.schema import Row
from drp_ray.stages.controls import other_reviews
from drp_ray.storage.folder import LocalFolder

Known = list[list[str]]
"""The reviews of five authors; the user is the last."""


class RawCharacters(Characters):
    """Characters whose n-grams are weighed by raw counts."""

    name, sublinear = "characters, raw", False


def read_all(path: Path) -> list[Row]:
    """All users of a dataset."""
    dataset = Dataset.open(LocalFolder(path), LocalFolder(path.parent))
    return [user for group in dataset.row_groups() for user in dataset.read_users(group).to_pylist()]


def draw(*names: str) -> str:
    """A place in an order that follows from names."""
    return hashlib.sha256("\0".join(names).encode()).hexdigest()


def cases(users: Sequence[Row], same_item: bool) -> list[tuple[str, str, Known]]:
    """For every user with enough others: the reference, a stranger's review, and what is known of the authors."""
    found = []
    for user in users:
        target = user["target"]
        request = {"item_id": target["item_id"], "text": target["text"], "until": target["timestamp"]}
        order = sorted(users, key=lambda other: draw(user["user_id"], other["user_id"]))
        others = [other for other in order if other is not user]
        pool = [other for other in others if not same_item or has_reviewed(other, target["item_id"])]
        known = [(other, other_reviews([*other["profile"], other["target"]], request)) for other in pool]
        chosen = [(other, reviews) for other, reviews in known if reviews is not None][: AUTHORS - 1]
        own = other_reviews(user["profile"], request)
        if own is not None and len(chosen) == AUTHORS - 1:
            stranger = next(other for other in reversed(others) if other not in [one for one, _ in chosen])
            found.append((target["text"], stranger["target"]["text"], [*(reviews for _, reviews in chosen), own]))
    return found


def has_reviewed(user: Row, item_id: str) -> bool:
    """Whether a review by the user is of the item."""
    return any(review["item_id"] == item_id for review in (*user["profile"], user["target"]))


def by_all_reviews(way: Attribution, texts: list[str], known: Known) -> list[float]:
    """The credit of the user, authors being known by all their reviews as one text."""
    rows = way.similarities(texts, [known_text(reviews) for reviews in known])
    return [credit(row, AUTHORS - 1) for row in rows]


def by_nearest_review(way: Attribution, texts: list[str], known: Known) -> list[float]:
    """The credit of the user, the author of the nearest single review being taken."""
    reviews = [review for each in known for review in each]
    owner = np.repeat(np.arange(AUTHORS), [len(each) for each in known])
    rows = way.similarities(texts, reviews)
    return [credit(np.array([row[owner == author].max() for author in range(AUTHORS)]), AUTHORS - 1) for row in rows]


def report(name: str, how: Callable[..., list[float]], of: list[tuple[str, str, Known]]) -> None:
    """Print how often each way finds the user."""
    for way in (*ATTRIBUTIONS, RawCharacters()):
        own, stranger = np.mean([how(way, [text, other], known) for text, other, known in of], axis=0)
        print(f"{name:<32} {way.name:<18} users {len(of):>5}  author {own:.3f}  stranger {stranger:.3f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    users = read_all(parser.parse_args().dataset)
    same, anybody = cases(users, same_item=True), cases(users, same_item=False)
    report("reviewers of the same item", by_all_reviews, same)
    report("any users", by_all_reviews, anybody)
    report("same item, single nearest review", by_nearest_review, same)


if __name__ == "__main__":
    main()

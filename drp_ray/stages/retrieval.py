"""Find a user's past reviews that matter for the target: BM25 over the user's own profile (DPL, "Retrieval")."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from drp_ray.config import DocumentField, Retrieval
from drp_ray.inputs.catalogue import Items
from drp_ray.inputs.review_times import ReviewTimes

Review = Mapping[str, Any]

OTHER = ""
"""Stands for a token that is not in the query. No token is empty."""


@dataclass(frozen=True)
class Retrieved:
    """Positions in the profile, best first."""

    history: list[int]
    eligible: list[int]


def retrieve(
    profile: Sequence[Review],
    target: Review,
    catalogue: Items,
    settings: Retrieval,
    k: int,
    times: ReviewTimes | None = None,
) -> Retrieved:
    """Rank a profile by relevance to the target.

    `history` ranks the whole profile; `eligible` ranks the reviews whose item has at least `k` other reviewers: with
    `times`, so many who wrote no later than the target (or the user's own review, where that is later).
    Both hold at most `settings.n` positions. Of several reviews of one item, only the newest is eligible.
    """

    def reviewers(review: Review) -> int:
        if times is None:
            return catalogue[review["item_id"]].reviewers
        return times.reviewers_until(review["item_id"], max(target["timestamp"], review["timestamp"]))

    query = _tokens(text_of(target, settings.query, catalogue), settings)
    documents = _documents([text_of(review, settings.document, catalogue) for review in profile], query, settings)
    eligible = [position for position in _newest_of_each_item(profile) if reviewers(profile[position]) - 1 >= k]
    everything = list(range(len(profile)))
    history = _best(everything, profile, documents, query, settings)
    if eligible == everything:
        return Retrieved(history, history)
    return Retrieved(history, _best(eligible, profile, documents, query, settings))


def text_of(review: Review, fields: Sequence[DocumentField], catalogue: Items) -> str:
    """Join the named fields of a review and of its item; what is null is left out."""
    item = catalogue[review["item_id"]]
    values: dict[DocumentField, str | None] = {
        "item_title": item.title,
        "item_description": item.description,
        "review_title": review["title"],
        "review_text": review.get("text"),
    }
    return " ".join(values[field] or "" for field in fields)


def bm25_scores(documents: Sequence[str], query: str, settings: Retrieval) -> np.ndarray:
    """Score documents (any number) against a query: float32[len(documents)], zeros where no token is shared.

    Tokens are what white space separates, as they stand or lower-cased.
    """
    wanted = _tokens(query, settings)
    return _scores(_documents(documents, wanted, settings), wanted, settings)


def _documents(texts: Sequence[str], query: Sequence[str], settings: Retrieval) -> list[list[str]]:
    """The tokens of every text, those that the query lacks as `OTHER`: what counts of them is how many there are."""
    wanted = set(query)
    return [_with_others(_tokens(text, settings), wanted) for text in texts]


def _with_others(tokens: list[str], wanted: set[str]) -> list[str]:
    shared = [token for token in wanted.intersection(tokens) for _ in range(tokens.count(token))]
    return shared + [OTHER] * (len(tokens) - len(shared))


def _scores(documents: Sequence[list[str]], query: Sequence[str], settings: Retrieval) -> np.ndarray:
    known = {token for document in documents for token in document}
    shared = [token for token in query if token in known]
    if not shared:
        return np.zeros(len(documents), np.float32)
    index = import_bm25s().BM25(method=settings.variant)
    index.index(documents, show_progress=False)
    return np.asarray(index.get_scores(shared))


def import_bm25s() -> Any:
    """bm25s, which brings numba and is loaded only where it is used.

    Where JAX is installed, bm25s tries it out when it is imported (0.3.16), and JAX would take three quarters of the
    memory of a GPU, from a process that Ray gave none. So it is held to the CPU there, unless the environment says.
    """
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import bm25s

    return bm25s


def _tokens(text: str, settings: Retrieval) -> list[str]:
    return (text.lower() if settings.lowercase else text).split()


def _best(
    positions: Sequence[int],
    profile: Sequence[Review],
    documents: Sequence[list[str]],
    query: Sequence[str],
    settings: Retrieval,
) -> list[int]:
    """The `n` best of some positions. Ties: the more recent, then the smaller item id."""
    scores = _scores([documents[position] for position in positions], query, settings)
    score_of = dict(zip(positions, scores.tolist(), strict=True))

    def order(position: int) -> tuple[float, int, str]:
        review = profile[position]
        return -score_of[position], -review["timestamp"], review["item_id"]

    return sorted(positions, key=order)[: settings.n]


def _newest_of_each_item(profile: Sequence[Review]) -> list[int]:
    newest: dict[str, int] = {}
    for position, review in enumerate(profile):
        rival = newest.get(review["item_id"])
        if rival is None or review["timestamp"] >= profile[rival]["timestamp"]:
            newest[review["item_id"]] = position
    return sorted(newest.values())

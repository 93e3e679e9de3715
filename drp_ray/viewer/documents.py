"""Makes the documents of users and items from the pieces that were gathered."""

from collections.abc import Iterator, Sequence
from typing import Any

from drp_ray.viewer.blocks import Address, Blocks
from drp_ray.viewer.document import document
from drp_ray.viewer.gather import Gathered

LISTS = frozenset({"comparisons", "differences", "difference_thoughts", "prediction_thoughts"})
"""The kinds of which a user has several pieces."""


BUNDLE_CHARACTERS = 2**15
"""Items are bundled until their reviews have so many characters: small documents compress badly and open slowly."""


def write_users(gathered: Gathered, chosen: Sequence[str], blocks: Blocks, with_texts: bool) -> list[Address]:
    """Write a document for each chosen user."""
    return [blocks.add(document(user_structure(gathered, user), with_texts)) for user in chosen]


def write_items(gathered: Gathered, blocks: Blocks, with_texts: bool) -> dict[str, Address]:
    """Write the items that chosen users were compared on, many in a document; the address of each item's document."""
    addresses: dict[str, Address] = {}
    for bundle in _bundles(gathered):
        address = blocks.add(document({"items": bundle}, with_texts))
        addresses.update({item["item_id"]: address for item in bundle})
    return addresses


def _bundles(gathered: Gathered) -> Iterator[list[dict[str, Any]]]:
    """Items in the order of their ids, as many together as fit a bundle."""
    bundle: list[dict[str, Any]] = []
    size = 0
    for item in gathered.items.owners():
        structure = item_structure(gathered, item)
        bundle.append(structure)
        size += sum(len(peer["text"]) for peer in structure["peers"])
        if size >= BUNDLE_CHARACTERS:
            yield bundle
            bundle, size = [], 0
    if bundle:
        yield bundle


def user_structure(gathered: Gathered, user: str) -> dict[str, Any]:
    """A user: the pieces of each source, and which sources each run has; null for a run without this user."""
    by_source: dict[int, list[dict[str, Any]]] = {}
    for piece in gathered.users.of(user):
        by_source.setdefault(piece.pop("source"), []).append(piece)
    runs = [dict(_own_sources(sources, by_source)) for sources in gathered.sources]
    kinds = {number: kind for sources in gathered.sources for kind, number in sources.items()}
    pieces = {str(number): found if kinds[number] in LISTS else found[0] for number, found in by_source.items()}
    return {"user_id": user, "runs": [run if "prediction" in run else None for run in runs], "pieces": pieces}


def _own_sources(sources: dict[str, int], there: dict[int, Any]) -> Iterator[tuple[str, int]]:
    for kind, number in sources.items():
        if number in there:
            yield kind, number


def item_structure(gathered: Gathered, item: str) -> dict[str, Any]:
    """An item: its title and description, and the reviews by those who represent others on it."""
    about, *peers = gathered.items.of(item)
    return {"item_id": item, **about, "peers": peers}

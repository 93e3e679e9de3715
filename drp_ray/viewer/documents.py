"""Makes the documents of users and items from the pieces that were gathered."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from drp_ray.viewer.blocks import Address, Blocks
from drp_ray.viewer.document import document
from drp_ray.viewer.gather import Gathered

LISTS = frozenset({"comparisons", "differences", "difference_thoughts", "prediction_thoughts"})
"""The kinds of which a user has several pieces."""


BUNDLE_CHARACTERS = 2**15
"""Items are bundled until their reviews have so many characters: small documents compress badly and open slowly."""

Compared = dict[tuple[str, str], "array[int]"]
"""By item, and by item and key of a review on it: the numbers of the users who were compared with it."""


def write_users(
    gathered: Gathered, chosen: Sequence[str], blocks: Blocks, with_texts: bool
) -> tuple[list[Address], Compared]:
    """Write a document for each chosen user; where they are, and who was compared on which item with which review."""
    compared: Compared = {}
    addresses = []
    for number, user in enumerate(chosen):
        structure = user_structure(gathered, user)
        for key in sorted(set(_compared_with(structure))):
            compared.setdefault(key, array("I")).append(number)
        addresses.append(blocks.add(document(structure, with_texts)))
    return addresses, compared


def _compared_with(structure: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for run in structure["runs"]:
        for comparison in structure["pieces"].get(str((run or {}).get("comparisons")), []):
            yield comparison["item_id"], ""
            yield from ((comparison["item_id"], each["peer"]) for each in comparison["representatives"])


def write_items(gathered: Gathered, compared: Compared, blocks: Blocks, with_texts: bool) -> dict[str, Address]:
    """Write the items that chosen users were compared on, many in a document; the address of each item's document."""
    addresses: dict[str, Address] = {}
    for bundle in _bundles(gathered, compared):
        address = blocks.add(document({"items": bundle}, with_texts))
        addresses.update({item["item_id"]: address for item in bundle})
    return addresses


def _bundles(gathered: Gathered, compared: Compared) -> Iterator[list[dict[str, Any]]]:
    """Items in the order of their ids, as many together as fit a bundle."""
    bundle: list[dict[str, Any]] = []
    size = 0
    for item in gathered.items.owners():
        structure = item_structure(gathered, compared, item)
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


def item_structure(gathered: Gathered, compared: Compared, item: str) -> dict[str, Any]:
    """An item: its title and description, and the reviews by those who represent others on it.

    Each has its `users`, by their numbers, so that a search for what it says finds them without their documents.
    """
    about, *peers = gathered.items.of(item)
    for peer in peers:
        peer["users"] = list(compared[item, peer["key"]])
    return {"item_id": item, **about, "users": list(compared[item, ""]), "peers": peers}

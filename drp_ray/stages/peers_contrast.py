"""How cicl finds its negative example: a random other user's review of the user's most relevant reviewed item."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from drp_ray.inputs.catalogue import Catalogue
from drp_ray.running.blocks import one_block_each
from drp_ray.running.regrouping import concatenated
from drp_ray.schema import Row
from drp_ray.stages.peers import FINDERS, FOUND, PeerFinder
from drp_ray.stages.stage import StageContext
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import read_part

WANTED = pa.schema(
    [
        ("part", pa.int32()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("text", pa.string()),
        ("until", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Contrast:
    """Looks for one review of the item of the best-ranked past review that somebody else reviewed too.

    Whose it is follows from the seed, the user and the item. The user's own words under another name are no
    contrast; `as_of` target leaves out what was written after the user's target.
    """

    users: Folder
    retrieved: Folder
    catalogue: Any
    seed: int
    as_of: str
    reviews_a_user: int = 1

    def wanted(self, names: list[str]) -> Any:
        """One row a user who can have a contrast: the review's item and text, and the time until which others count."""
        units = [{"number": number, "name": name} for number, name in enumerate(names)]
        arguments = {"users": self.users, "retrieved": self.retrieved, "catalogue": self.catalogue}
        found = one_block_each(units).map_batches(
            contrasts_wanted, batch_size=1, batch_format="pyarrow", fn_kwargs=arguments
        )
        return concatenated.remote(*found.to_arrow_refs())

    def search(self, users: pa.Table, wanted: pa.Table) -> pa.Table:
        """The best draw that these users have for each user who looks."""
        looking: dict[str, list[Row]] = {}
        items = pc.struct_field(pc.list_flatten(users["profile"].combine_chunks()), "item_id")
        for row in wanted.filter(pc.is_in(wanted["item_id"], items)).to_pylist():
            looking.setdefault(row["item_id"], []).append(row)
        best: dict[str, Row] = {}
        for author in users.select(["user_id", "profile"]).to_pylist():
            for review in author["profile"]:
                for request in looking.get(review["item_id"], ()):
                    self._consider(author["user_id"], review, request, best)
        return pa.Table.from_pylist(list(best.values()), FOUND)

    def _consider(self, author: str, review: Mapping[str, Any], request: Row, best: dict[str, Row]) -> None:
        is_late = self.as_of == "target" and review["timestamp"] > request["until"]
        if author == request["user_id"] or review["text"] == request["text"] or is_late:
            return
        order = _draw(self.seed, request["user_id"], review["item_id"], author)
        rival = best.get(request["user_id"])
        if rival is None or (order, -review["timestamp"]) < (rival["order"], -rival["timestamp"]):
            found = {"part": request["part"], "for_user": request["user_id"], "order": order, "user_id": author}
            best[request["user_id"]] = {**review, **found}


def contrasts_wanted(batch: pa.Table, users: Folder, retrieved: Folder, catalogue: Any) -> pa.Table:
    """What the users of one part look for."""
    unit = batch.to_pylist()[0]
    items = Catalogue(ray.get(catalogue))
    history = {row["user_id"]: row["history"] for row in read_part(retrieved, unit["name"]).rows.to_pylist()}
    rows = []
    for user in read_part(users, unit["name"]).rows.to_pylist():
        ranked = [user["profile"][position] for position in history[user["user_id"]]]
        shared = next((review for review in ranked if items[review["item_id"]].reviewers > 1), None)
        if shared is not None:
            row = {"part": unit["number"], "user_id": user["user_id"], "until": user["target"]["timestamp"]}
            rows.append({**row, "item_id": shared["item_id"], "text": shared["text"]})
    return pa.Table.from_pylist(rows, WANTED)


def _draw(seed: int, user_id: str, item_id: str, author: str) -> str:
    """The author's place in this user's seeded order; the first is chosen, wherever the reviews are found."""
    return hashlib.sha256(f"{seed}\0{user_id}\0{item_id}\0{author}".encode()).hexdigest()


def _make(context: StageContext) -> Contrast:
    users, retrieved = context.folders["users"], context.folders["retrieved"]
    selection = context.config.selection
    return Contrast(users, retrieved, context.catalogue(), selection.seed, selection.as_of)


FINDERS["contrast"] = PeerFinder(
    inputs=("users", "retrieved"),
    settings=lambda config: {"seed": config.selection.seed, "as_of": config.selection.as_of},
    make=_make,
)

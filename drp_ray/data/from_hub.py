"""`drp-ray data hub`: users and items from the Hugging Face hub, or from a local copy in its layouts, into a dataset.

The published sets are small (at most 30,000 users), so one process reads them, in batches, through `datasets`.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from drp_ray.data.build_options import BuildOptions
from drp_ray.data.extract import ChunkFacts, write_chunk
from drp_ray.data.figures import category_of
from drp_ray.data.footers import write_with_footer
from drp_ray.data.from_tables import TableItem, TableItemMaker, TableUser, UserMaker, write_items_and_check
from drp_ray.data.hub_columns import UserColumns, as_item, as_user, items_named_in, map_items, map_users
from drp_ray.data.layout import Destination, being_made, delete_others, mark_complete, table_if_complete
from drp_ray.data.raw_files import RawFile
from drp_ray.data.row_rules import BadRows
from drp_ray.data.task_runner import in_this_process
from drp_ray.errors import BadInput
from drp_ray.inputs.dataset import SPLITS
from drp_ray.running.cluster import Say
from drp_ray.storage.folder import Folder, LocalFolder
from drp_ray.storage.parts import part_name

USERS_PER_PART = 256
ITEMS_PER_CHUNK = 10_000


@dataclass(frozen=True)
class HubSource:
    """A set: its hub id or a folder with a copy, a configuration, a split (None: the only one) and a revision."""

    location: str
    config: str | None
    split: str | None
    revision: str | None

    def __str__(self) -> str:
        parts = [self.location]
        if self.config:
            parts.append(f"config {self.config}")
        if self.split:
            parts.append(f"split {self.split}")
        return ", ".join(parts)


@dataclass(frozen=True)
class HubBuild:
    """A dataset to be made from a set of users and one of items; without the latter the reviews name their items."""

    users: HubSource
    items: HubSource | None
    split: str
    out: Folder
    scratch: str | None

    def destination(self, users: "LoadedSet", items: "LoadedSet | None") -> Destination:
        """The dataset's folder, and what it will hold."""
        made_from = {
            "kind": "hub",
            "users": [self.users.config, self.split, users.identity],
            "items": None if items is None else items.identity,
        }
        return Destination(self.out, made_from, {"users": self.users.location})


class LoadedSet(NamedTuple):
    """A `datasets.Dataset` that is mapped from disk, and what stands for its content."""

    rows: Any
    identity: Sequence[object]


def build_from_hub(build: HubBuild, say: Say) -> str:
    """Make a split's users and the items unless they are there; the table that describes them.

    Raises:
        BadInput: a set cannot be loaded, its columns cannot be mapped, or a row cannot be read.
        JobFailed: another process makes a dataset there.
    """
    if build.split not in SPLITS:
        raise BadInput(f"--split {build.split}: known: {', '.join(SPLITS)}")
    with tempfile.TemporaryDirectory(prefix="drp-ray-", dir=build.scratch) as cache:
        users = _load(build.users, cache)
        items = None if build.items is None else _load(build.items, cache)
        columns = map_users(users.rows.features.arrow_schema, str(build.users))
        if items is None and "item_title" not in columns.profile:
            found = "; ".join(f"{ours} = {theirs}" for ours, theirs in columns.profile.items())
            raise BadInput(f"{build.users}: the reviews do not name their items ({found}); add --meta")
        destination = build.destination(users, items)
        if (table := table_if_complete(destination, say)) is not None:
            return table
        with being_made(destination, say) as check, in_this_process() as runner:
            item_ids = _write_users(users.rows, columns, destination, build)
            if build.items is None or items is None:
                facts = _write_items(_named_items(users.rows, columns), destination, build.users)
            else:
                facts = _write_items(_listed_items(items.rows, build.items, item_ids), destination, build.items)
            options = BuildOptions(scratch=build.scratch)
            manifest = write_items_and_check(runner, destination, build.split, facts, options, say)
            check()
            category = category_of([build.users.config or build.users.location])
            return mark_complete(destination, {**manifest, "category": category, "truncated": []})


def _load(source: HubSource, cache: str) -> LoadedSet:
    """Load a split of a set.

    Raises:
        BadInput: there is no such set, configuration or split; the message lists those that exist.
    """
    try:
        return _load_local(source, cache) if Path(source.location).is_dir() else _load_remote(source)
    except BadInput:
        raise
    except Exception as error:  # what datasets, the hub's client and the HTTP library below it raise shares no base
        raise BadInput(f"{source}: cannot be loaded: {type(error).__name__}: {error}") from error


def _load_remote(source: HubSource) -> LoadedSet:
    import datasets
    from huggingface_hub import HfApi

    revision = HfApi().dataset_info(source.location, revision=source.revision).sha
    configs = datasets.get_dataset_config_names(source.location, revision=revision)
    config = _chosen(source, "configuration", source.config, configs)
    splits = datasets.get_dataset_split_names(source.location, config, revision=revision)
    split = _chosen(source, "split", source.split, splits, config)
    rows = datasets.load_dataset(source.location, config, split=split, revision=revision)
    return LoadedSet(rows, [source.location, config, split, revision])


def _load_local(source: HubSource, cache: str) -> LoadedSet:
    """Folders of `save_to_disk`, or Parquet files under the names that the hub gives them."""
    import datasets

    folder = Path(source.location)
    if source.config is not None and (folder / source.config).is_dir():
        folder = folder / source.config
    if (folder / "dataset_dict.json").exists():
        splits = datasets.load_from_disk(str(folder))
        return _saved(splits[_chosen(source, "split", source.split, list(splits), source.config)])
    for saved in (folder, folder / (source.split or "")):
        if (saved / "state.json").exists():
            return _saved(datasets.load_from_disk(str(saved)))
    files = _parquet_files(folder)
    if not files:
        found = sorted(path.name for path in folder.iterdir())
        raise BadInput(f"{folder}: neither a save_to_disk folder nor Parquet files; found: {', '.join(found)}")
    split = _chosen(source, "split", source.split, list(files), source.config)
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_parquet(list(map(str, files[split])), cache_dir=cache)
    return LoadedSet(rows, _identities(files[split]))


def _saved(rows: Any) -> LoadedSet:
    return LoadedSet(rows, _identities([Path(file["filename"]) for file in rows.cache_files]))


def _identities(paths: Sequence[Path]) -> list[object]:
    files = [RawFile(LocalFolder(path.parent), path.name, path.stat().st_size, "parquet") for path in paths]
    return [file.identity() for file in files]


def _parquet_files(folder: Path) -> dict[str, list[Path]]:
    """Parquet files by split: `SPLIT-00000-of-00001.parquet`, `SPLIT.parquet` or `SPLIT/….parquet`, also in `data/`."""
    found: dict[str, list[Path]] = {}
    for place in (folder, folder / "data"):
        for path in sorted(place.glob("*.parquet")):
            found.setdefault(path.stem.split("-")[0], []).append(path)
        for path in sorted(place.glob("*/*.parquet")):
            if path.parent.name != "data":
                found.setdefault(path.parent.name, []).append(path)
    return found


def _chosen(source: HubSource, what: str, wanted: str | None, there: list[str], config: str | None = None) -> str:
    """The wanted name, or the one that stands for it: the only one, or that of the configuration."""
    aliases = ["val", "validation", "dev"] if wanted == "val" else [config if wanted is None else wanted]
    for name in aliases:
        if name is not None and name in there:
            return name
    if len(there) == 1 and (wanted is None or what == "configuration"):
        return there[0]
    raise BadInput(f"{source}: there is no such {what}, or several; found: {', '.join(there)}")


def _batches(rows: Any, size: int) -> Iterator[list[dict[str, Any]]]:
    for batch in rows.with_format("arrow").iter(batch_size=size):
        yield batch.to_pylist()


def _write_users(rows: Any, columns: UserColumns, destination: Destination, build: HubBuild) -> set[str]:
    """Write the users; the ids of the items that they reviewed or will review."""
    item_ids: set[str] = set()
    written = set()
    for number, batch in enumerate(_batches(rows, USERS_PER_PART)):
        users: list[tuple[int, TableUser]] = []
        for row, found in enumerate(batch, number * USERS_PER_PART):
            try:
                users.append((row, msgspec.convert(as_user(found, columns), TableUser)))
            except ValueError as error:
                raise BadInput(f"{build.users}, row {row + 1}: {error}") from error
        item_ids.update(review.item_id for _, user in users for review in (*user.profile, user.target))
        table = UserMaker().make(users, BadRows()).table
        footer = {"fingerprint": destination.fingerprint}
        write_with_footer(destination.users(build.split), part_name(number), table, footer)
        written.add(part_name(number))
    delete_others(destination.users(build.split), written)
    return item_ids


def _listed_items(rows: Any, source: HubSource, item_ids: set[str]) -> Iterator[Mapping[str, Any]]:
    """The items of a set of items that the users name."""
    names = map_items(rows.features.arrow_schema, str(source))
    for batch in _batches(rows, ITEMS_PER_CHUNK):
        items = (as_item(row, names) for row in batch)
        yield from (item for item in items if item["item_id"] in item_ids)


def _named_items(rows: Any, columns: UserColumns) -> Iterator[Mapping[str, Any]]:
    """The items that the reviews name themselves, each once."""
    seen: set[str] = set()
    for batch in _batches(rows, USERS_PER_PART):
        for item in (item for row in batch for item in items_named_in(row, columns)):
            if item["item_id"] not in seen:
                seen.add(item["item_id"])
                yield item


def _write_items(rows: Iterator[Mapping[str, Any]], destination: Destination, source: HubSource) -> list[ChunkFacts]:
    """Write the items as chunks of metadata, in the order given."""
    facts: list[ChunkFacts] = []
    while (chunk := list(islice(rows, ITEMS_PER_CHUNK))) or not facts:
        bad = BadRows()
        made = TableItemMaker().make(_converted(chunk, source), bad)
        if bad.count:
            raise BadInput(f"{source}: {bad.first[0][1]}")
        size = len(chunk)
        facts.append(ChunkFacts(0, len(facts), size, size, size, 0, is_last=False, is_truncated=False))
        write_chunk(destination.work("meta"), made.table, facts[-1])
    return facts


def _converted(items: Sequence[Mapping[str, Any]], source: HubSource) -> Iterator[tuple[int, TableItem]]:
    for number, item in enumerate(items):
        try:
            yield number, msgspec.convert(dict(item), TableItem)
        except ValueError as error:
            raise BadInput(f"{source}: item {item['item_id']!r}: {error}") from error

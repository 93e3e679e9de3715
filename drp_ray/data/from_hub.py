"""`drp-ray data hub`: users and items from the Hugging Face hub, or from a local copy in its layouts, into a dataset.

The published sets are small (at most 30,000 users), so one process reads them, in batches, through `datasets`.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from drp_ray.data.build import Options
from drp_ray.data.columns import UserColumns, item_row, map_items, map_users, named_items, user_row
from drp_ray.data.extract import BadRows, ChunkFacts, with_row_ids
from drp_ray.data.figures import category_of, report_of
from drp_ray.data.from_tables import TableItem, TableItemMaker, TableUser, UserMaker, describe_made
from drp_ray.data.inputs import RawFile, identity
from drp_ray.data.layout import Target, being_made, delete_others, finish, is_built, read_json
from drp_ray.data.tables import write_table
from drp_ray.data.tasks import Say, here
from drp_ray.errors import BadInput
from drp_ray.inputs.dataset import SPLITS
from drp_ray.storage.folder import Folder, LocalFolder
from drp_ray.storage.parts import MANIFEST, part_name

USERS_PER_PART = 256
ITEMS_PER_CHUNK = 10_000


@dataclass(frozen=True)
class HubSource:
    """A set: its hub id or a folder with a copy, a configuration, a split (None: the only one) and a revision."""

    location: str
    config: str | None
    split: str | None
    revision: str | None

    @property
    def told(self) -> str:
        """The source as messages name it."""
        parts = [self.location, self.config and f"config {self.config}", self.split and f"split {self.split}"]
        return ", ".join(part for part in parts if part)

    @property
    def is_local(self) -> bool:
        """Whether it is a folder here."""
        return Path(self.location).is_dir()


@dataclass(frozen=True)
class HubBuild:
    """A dataset to be made from a set of users and one of items; without the latter the reviews name their items."""

    users: HubSource
    items: HubSource | None
    split: str
    out: Folder
    scratch: str | None

    def target(self, users: "Loaded", items: "Loaded | None") -> Target:
        """The dataset's folder, and what it will hold."""
        made_from = {
            "kind": "hub",
            "users": [self.users.config, self.split, users.identity],
            "items": None if items is None else items.identity,
        }
        return Target(self.out, made_from, {"users": self.users.location})


class Loaded(NamedTuple):
    """A `datasets.Dataset` that is mapped from disk, and what stands for its content."""

    rows: Any
    identity: list[Any]


def build_from_hub(job: HubBuild, say: Say) -> str:
    """Make a split's users and the items unless they are there; the table that describes them.

    Raises:
        BadInput: a set cannot be loaded, its columns cannot be mapped, or a row cannot be read.
        JobFailed: another process makes a dataset there.
    """
    if job.split not in SPLITS:
        raise BadInput(f"--split {job.split}: known: {', '.join(SPLITS)}")
    with tempfile.TemporaryDirectory(prefix="drp-ray-", dir=job.scratch) as cache:
        users = load(job.users, cache)
        items = None if job.items is None else load(job.items, cache)
        columns = map_users(users.rows.features.arrow_schema, job.users.told)
        if items is None and "item_title" not in columns.profile:
            told = "; ".join(f"{ours} = {theirs}" for ours, theirs in columns.profile.items())
            raise BadInput(f"{job.users.told}: the reviews do not name their items ({told}); add --meta")
        target = job.target(users, items)
        if is_built(target):
            say(f"Nothing to do: {target.out.uri} is complete.")
            return report_of(read_json(target.out, MANIFEST) or {})
        with being_made(target, say) as check, here() as runner:
            used = _write_users(users.rows, columns, target, job)
            rows = _named_items(users.rows, columns) if items is None else _listed_items(items.rows, job, used)
            facts = _write_items(rows, target, (job.items or job.users).told)
            manifest = describe_made(runner, target, job.split, facts, Options(scratch=job.scratch), say)
            manifest |= {"category": category_of([job.users.config or job.users.location]), "truncated": []}
            check()
            table = report_of(manifest)
            finish(target, manifest, table)
    return table


def load(source: HubSource, cache: str) -> Loaded:
    """Load a split of a set.

    Raises:
        BadInput: there is no such set, configuration or split; what there is is listed.
    """
    try:
        return _load_local(source, cache) if source.is_local else _load_remote(source)
    except BadInput:
        raise
    except Exception as error:  # what datasets, the hub's client and the HTTP library below it raise shares no base
        raise BadInput(f"{source.told}: cannot be loaded: {type(error).__name__}: {error}") from error


def _load_remote(source: HubSource) -> Loaded:
    import datasets
    from huggingface_hub import HfApi

    revision = HfApi().dataset_info(source.location, revision=source.revision).sha
    configs = datasets.get_dataset_config_names(source.location, revision=revision)
    config = _chosen(source, "configuration", source.config, configs)
    splits = datasets.get_dataset_split_names(source.location, config, revision=revision)
    split = _chosen(source, "split", source.split, splits, config)
    rows = datasets.load_dataset(source.location, config, split=split, revision=revision)
    return Loaded(rows, [source.location, config, split, revision])


def _load_local(source: HubSource, cache: str) -> Loaded:
    """Folders of `save_to_disk`, or Parquet files under the names that the hub gives them."""
    import datasets

    folder = Path(source.location)
    if source.config is not None and (folder / source.config).is_dir():
        folder = folder / source.config
    if (folder / "dataset_dict.json").exists():
        splits = datasets.load_from_disk(str(folder))
        return _saved(splits[_chosen(source, "split", source.split, list(splits), source.config)])
    for saved in (folder, *([folder / source.split] if source.split else [])):
        if (saved / "state.json").exists():
            return _saved(datasets.load_from_disk(str(saved)))
    files = _parquet_files(folder)
    if not files:
        found = sorted(path.name for path in folder.iterdir())
        raise BadInput(f"{folder}: neither a save_to_disk folder nor Parquet files; found: {', '.join(found)}")
    split = _chosen(source, "split", source.split, list(files), source.config)
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_parquet(list(map(str, files[split])), cache_dir=cache)
    return Loaded(rows, _identities(files[split]))


def _saved(rows: Any) -> Loaded:
    return Loaded(rows, _identities([Path(file["filename"]) for file in rows.cache_files]))


def _identities(paths: Sequence[Path]) -> list[Any]:
    files = [RawFile(LocalFolder(path.parent), path.name, path.stat().st_size, "parquet") for path in paths]
    return [identity(file) for file in files]


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


def _chosen(source: HubSource, what: str, wanted: str | None, there: list[str], also: str | None = None) -> str:
    """The wanted name, or the one that stands for it: the only one, or for items that of the configuration."""
    aliases = {"val": ("val", "validation", "dev")}.get(wanted or "", (wanted,))
    for name in (*aliases, also if wanted is None else None):
        if name in there:
            return name
    if len(there) == 1 and (wanted is None or what == "configuration"):
        return there[0]
    raise BadInput(f"{source.told}: there is no such {what}, or several; found: {', '.join(there)}")


def _rows(loaded: Any, size: int) -> Iterator[tuple[int, pa.Table]]:
    yield from enumerate(loaded.with_format("arrow").iter(batch_size=size))


def _write_users(loaded: Any, columns: UserColumns, target: Target, job: HubBuild) -> set[str]:
    """Write the users; the items that they name."""
    used: set[str] = set()
    written = set()
    for number, batch in _rows(loaded, USERS_PER_PART):
        users = []
        for row, told in enumerate(batch.to_pylist(), number * USERS_PER_PART):
            with _row_named(job.users, row):
                users.append((row, msgspec.convert(user_row(told, columns), TableUser)))
        used.update(review.item_id for _, user in users for review in (*user.profile, user.target))
        written.add(part_name(number))
        made = UserMaker().make(users, BadRows())
        write_table(target.users(job.split), part_name(number), made.table, {"fingerprint": target.fingerprint})
    delete_others(target.users(job.split), written)
    return used


@contextmanager
def _row_named(source: HubSource, row: int) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise BadInput(f"{source.told}, row {row + 1}: {error}") from error


def _listed_items(loaded: Any, job: HubBuild, used: set[str]) -> Iterator[Mapping[str, Any]]:
    source = job.items or job.users
    names = map_items(loaded.features.arrow_schema, source.told)
    for _, batch in _rows(loaded, ITEMS_PER_CHUNK):
        yield from (item for row in batch.to_pylist() if (item := item_row(row, names))["item_id"] in used)


def _named_items(loaded: Any, columns: UserColumns) -> Iterator[Mapping[str, Any]]:
    seen: set[str] = set()
    for _, batch in _rows(loaded, USERS_PER_PART):
        for row in batch.to_pylist():
            for item in named_items(row, columns):
                if item["item_id"] not in seen:
                    seen.add(item["item_id"])
                    yield item


def _write_items(rows: Iterator[Mapping[str, Any]], target: Target, told: str) -> list[ChunkFacts]:
    """Write the items as chunks of metadata, in the order given."""
    facts: list[ChunkFacts] = []
    held: list[tuple[int, TableItem]] = []

    def write() -> None:
        bad = BadRows()
        made = TableItemMaker().make(held, bad)
        if bad.count:
            raise BadInput(f"{told}: {bad.first[0][1]}")
        chunk = ChunkFacts(0, len(facts), len(held), len(held), made.table.num_rows, 0, False, False)
        write_table(target.work("meta"), chunk.name, with_row_ids(made.table, chunk), msgspec.to_builtins(chunk))
        facts.append(chunk)
        held.clear()

    for item in rows:
        try:
            held.append((len(held), msgspec.convert(dict(item), TableItem)))
        except ValueError as error:
            raise BadInput(f"{told}: item {item['item_id']!r}: {error}") from error
        if len(held) == ITEMS_PER_CHUNK:
            write()
    if held or not facts:
        write()
    return facts

"""Write the generated dataset in the layout that a job reads: `users/` and `items/` in Parquet."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from drp_ray.data.sample import USERS_PER_CHUNK, sample_items, sample_users
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import part_name


@dataclass(frozen=True)
class SampleFile:
    """A file of the generated dataset: its name in the dataset's folder, and what makes its rows."""

    name: str
    make_rows: Callable[[], pa.Table]

    def write(self, folder: Folder) -> None:
        """Write the file into the dataset's folder; equal rows give equal bytes."""
        sink = io.BytesIO()
        pq.write_table(self.make_rows(), sink, compression="zstd")
        folder.write(self.name, sink.getvalue())


def sample_files(n_users: int, seed: int) -> list[SampleFile]:
    """The files of the generated dataset, each with a chunk of users or with all items; nothing is generated yet."""
    files = [
        SampleFile(
            f"users/{part_name(number)}",
            partial(sample_users, n_users, seed, start, min(start + USERS_PER_CHUNK, n_users)),
        )
        for number, start in enumerate(range(0, n_users, USERS_PER_CHUNK))
    ]
    return [*files, SampleFile(f"items/{part_name(0)}", partial(sample_items, n_users, seed))]


def write_sample(folder: Folder, n_users: int, seed: int) -> None:
    """Write the generated dataset over what is there; the same arguments give the same bytes."""
    files = sample_files(n_users, seed)
    for file in files:
        file.write(folder)
    names = {file.name for file in files}
    for entry in folder.at("users").entries():
        if f"users/{entry.name}" not in names:
            folder.delete(f"users/{entry.name}")

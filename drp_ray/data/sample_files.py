"""Write a dataset in the layout that a job reads: `users/` and `items/` in Parquet."""

import io

import pyarrow as pa
import pyarrow.parquet as pq

from drp_ray.data.sample import USERS_PER_CHUNK, sample_items, sample_users
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import part_name


def write_sample(folder: Folder, n_users: int, seed: int) -> None:
    """Write the generated dataset, a file a chunk of users; the same arguments give the same bytes."""
    starts = range(0, n_users, USERS_PER_CHUNK)
    for number, start in enumerate(starts):
        users = sample_users(n_users, seed, start, min(start + USERS_PER_CHUNK, n_users))
        folder.at("users").write(part_name(number), _parquet(users))
    for entry in folder.at("users").entries()[len(starts) :]:
        folder.at("users").delete(entry.name)
    folder.at("items").write(part_name(0), _parquet(sample_items(n_users, seed)))


def _parquet(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd")
    return sink.getvalue()

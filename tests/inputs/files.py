"""Datasets on a disk that tests write file by file."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from drp_ray import schema
from drp_ray.errors import BadInput
from drp_ray.inputs.dataset import Dataset
from drp_ray.inputs.dataset_check import check_dataset
from drp_ray.storage.folder import S3Options, open_folder

CATALOGUE = [{"item_id": f"i{number}", "title": f"Item {number}", "description": None} for number in range(5)]


def review(item=0, **changes):
    return {"item_id": f"i{item}", "rating": 4.0, "title": None, "text": "good", "timestamp": 1, **changes}


def user(number=0, **changes):
    return {"user_id": f"u{number}", "profile": [review(1), review(2)], "target": review(3), **changes}


def table(rows, columns=schema.USERS):
    return pa.Table.from_pylist(rows, columns)


class Files:
    """A dataset on a disk, written file by file."""

    def __init__(self, path):
        self.path = path
        self.items(table(CATALOGUE, schema.CATALOGUE))

    def items(self, rows, name="part-0.parquet", **options):
        return self._write("items", rows, name, options)

    def users(self, rows, name="part-0.parquet", **options):
        rows = rows if isinstance(rows, pa.Table | bytes) else table(rows)
        return self._write("users", rows, name, options)

    def _write(self, kind, rows, name, options):
        target = self.path / kind / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(rows, bytes):
            target.write_bytes(rows)
        else:
            pq.write_table(rows, target, **options)
        return self

    def open(self):
        folder = open_folder(str(self.path), S3Options())
        return Dataset.open(folder, open_folder(str(self.path.parent), S3Options()))

    def refused(self):
        """The message with which the check refuses the dataset."""
        with pytest.raises(BadInput) as refusal:
            check_dataset(self.open())
        return str(refusal.value)


def with_type(column, new_type):
    """`schema.USERS` with another type at a place such as `profile[].rating`; without it where that is None."""

    def changed(found, steps):
        if not steps:
            return new_type
        step, *rest = steps
        if step == "[]":
            return pa.list_(changed(found.value_type, rest))
        fields = [
            (field.name, changed(field.type, rest) if field.name == step else field.type)
            for field in (found.field(index) for index in range(found.num_fields))
        ]
        return pa.struct([field for field in fields if field[1] is not None])

    whole = changed(pa.struct(list(schema.USERS)), column.replace("[]", ".[]").split("."))
    return pa.schema(list(whole))

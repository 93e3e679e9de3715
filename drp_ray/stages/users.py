"""users: the test users that are predicted for, from files of any layout into parts of equal size."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray

from drp_ray.config import Users
from drp_ray.inputs.dataset import Dataset, RowGroup, chosen_rows
from drp_ray.running.part_stage import as_row
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import commit_part, part_name


@dataclass(frozen=True)
class UserParts:
    """Cuts every row group's chosen users into parts; a part never crosses row groups, so none is read twice."""

    dataset: Dataset
    users: Users
    rows_per_part: int

    def plan(self, folder: Folder) -> ray.data.Dataset | None:
        """One task a row group."""
        units, parts = [], 0
        for group, rows in chosen_rows(self.dataset, self.users):
            units.append({"file": group.file, "index": group.index, "rows": rows, "first_part": parts})
            parts += -(-len(rows) // self.rows_per_part)
        arguments = {"dataset": self.dataset, "rows_per_part": self.rows_per_part, "folder": folder}
        return ray.data.from_items(units, override_num_blocks=len(units)).flat_map(
            write_user_parts, fn_kwargs=arguments, num_cpus=1
        )


def write_user_parts(
    unit: Mapping[str, Any], dataset: Dataset, rows_per_part: int, folder: Folder
) -> list[dict[str, str]]:
    """Write the parts of one row group."""
    users = dataset.read_users(RowGroup(unit["file"], unit["index"], 0)).take(unit["rows"])
    starts = range(0, users.num_rows, rows_per_part)
    return [
        as_row(commit_part(folder, part_name(unit["first_part"] + number), users.slice(start, rows_per_part), {}, ""))
        for number, start in enumerate(starts)
    ]

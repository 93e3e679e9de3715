"""users: the test users that are predicted for, from files of any layout into parts of equal size."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray

from drp_ray.config import Users, pseudonym_key
from drp_ray.inputs.chosen_users import chosen_rows
from drp_ray.inputs.dataset import Dataset, RowGroup
from drp_ray.inputs.pseudonyms import key_tag
from drp_ray.running.blocks import one_block_each
from drp_ray.running.part_outcomes import committed_row
from drp_ray.stages.stage import JobSpec, Stage, StageContext, after
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
            parts += math.ceil(len(rows) / self.rows_per_part)
        arguments = {"dataset": self.dataset, "rows_per_part": self.rows_per_part, "folder": folder}
        return one_block_each(units).flat_map(write_user_parts, fn_kwargs=arguments, num_cpus=1)


def write_user_parts(
    unit: Mapping[str, Any], dataset: Dataset, rows_per_part: int, folder: Folder
) -> list[dict[str, str]]:
    """Write the parts of one row group."""
    users = dataset.read_users(RowGroup(unit["file"], unit["index"], 0)).take(unit["rows"])
    starts = range(0, users.num_rows, rows_per_part)
    parts = [users.slice(start, rows_per_part) for start in starts]
    names = [part_name(unit["first_part"] + number) for number in range(len(parts))]
    return [committed_row(commit_part(folder, name, part, {}, "")) for name, part in zip(names, parts, strict=True)]


def _settings(spec: JobSpec) -> dict[str, Any]:
    """The dataset and who is predicted for; the seed changes nothing where nobody is drawn."""
    users = spec.config.users
    chosen = users.model_dump(exclude={"pseudonyms"} if users.sample is not None else {"pseudonyms", "seed"})
    if users.pseudonyms:
        chosen["pseudonyms"] = key_tag(pseudonym_key())
    return {"dataset": dict(spec.dataset_identity), "users": chosen}


def _make(context: StageContext) -> UserParts:
    return UserParts(context.dataset, context.config.users, context.config.runtime.rows_per_part)


USERS = Stage("users", version=2, inputs=after(), settings=_settings, make=_make, reads_dataset=True)

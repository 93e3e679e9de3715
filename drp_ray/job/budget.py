"""A run within a budget: it grows from wave to wave, and each wave is a whole run on a random sample of the users.

The samples are nested: users are worked in the seeded random order of `users.sample`, and a wave works on the first so
many of them. What a wave has asked the next one takes over (`llm.memory`), so that it asks for the users that are new.
A wave is as large as what is left of the budget is enough for, by what users have cost so far; so the run ends with a
sample that is whole in every stage, and never with some stages of some users. In `budget.json` stands how far it is.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drp_ray.config import Config, Users
from drp_ray.errors import BadInput
from drp_ray.inputs.chosen_users import chosen_rows
from drp_ray.inputs.dataset import Dataset
from drp_ray.job.plan import Plan
from drp_ray.llm.memory import paid
from drp_ray.stages.stage import Resources
from drp_ray.storage.folder import Folder, write_if_changed
from drp_ray.storage.parts import add_up, read_committed, read_manifest, read_rows

LEDGER = "budget.json"
FIRST_WAVE = 8
"""Users of the first wave, which tells what users cost."""

GROWTH = 16
"""How many times as many users the next wave may have: what a few users cost says little of many."""

LEAST_GROWTH = 0.02
"""A wave by less than this share is not worth its start."""

SURENESS = 2.0
"""Standard errors by which users are taken to cost more than they did on average."""

WALL_MARGIN = 1.1
"""How much longer users are taken to need than they did: what they need is not known for single users."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Ledger:
    """The waves of a run: the users that the job names, how many those are, and the sizes of the waves so far."""

    users: Users
    of: int
    sizes: tuple[int, ...]
    ended_by: str | None = None
    """The limit that left no further wave, where one did."""

    @property
    def worked(self) -> int:
        """The users of the last wave, which may be under way."""
        return self.sizes[-1]

    @property
    def is_over(self) -> bool:
        """Whether no wave follows the last one."""
        return self.ended_by is not None or self.worked >= self.of

    def chosen(self, size: int) -> Users:
        """The first users in random order; where that is everybody, the users as the job names them."""
        return self.users if size >= self.of else self.users.model_copy(update={"sample": size})

    def with_wave(self, size: int) -> "Ledger":
        """The ledger with a further wave."""
        return replace(self, sizes=(*self.sizes, size), ended_by=None)

    def write(self, folder: Folder) -> None:
        """Write it beside the run's record."""
        content = {"users": self.users.model_dump(mode="json"), "of": self.of, "sizes": list(self.sizes)}
        content |= {"ended_by": self.ended_by}
        write_if_changed(folder, LEDGER, json.dumps(content, indent=1).encode())


def read_ledger(folder: Folder) -> Ledger | None:
    """The ledger of a run; None where it has none yet.

    Raises:
        BadInput: it is damaged.
    """
    try:
        content = json.loads(folder.read(LEDGER))
        return Ledger(
            Users(**content["users"]), int(content["of"]), tuple(map(int, content["sizes"])), content["ended_by"]
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{folder.uri}/{LEDGER} is damaged ({error}): choose another name for the run") from error


def first_ledger(config: Config, dataset: Dataset) -> Ledger:
    """The ledger of a run that begins."""
    everybody = sum(len(rows) for _, rows in chosen_rows(dataset, config.users))
    return Ledger(config.users, everybody, (min(FIRST_WAVE, everybody),))


def within_budget(config: Config, ledger: Ledger | None) -> Config:
    """The configuration as far as a run has come: with the users of its last wave, whose rows are taken over.

    Raises:
        BadInput: the run was begun for other users.
    """
    if not config.budget.limits or ledger is None:
        return config
    if config.users not in (ledger.users, *map(ledger.chosen, ledger.sizes)):
        raise BadInput(f"a run named {config.name!r} was begun with a budget for other users; choose another name")
    runtime = config.runtime.model_copy(update={"reuse": True})
    return config.model_copy(update={"users": ledger.chosen(ledger.worked), "runtime": runtime})


@dataclass(frozen=True)
class Spent:
    """What calls have cost, in tokens and dollars, and hours on the clock."""

    tokens: float = 0.0
    usd: float = 0.0
    hours: float = 0.0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.tokens + other.tokens, self.usd + other.usd, self.hours + other.hours)


def spent_on(plans: Iterable[Plan]) -> Spent:
    """What the stages of some waves have cost so far, each folder once; rows that were taken over cost nothing."""
    folders: dict[str, Spent] = {}
    for plan in plans:
        for name, info in plan.stages.items():
            folders[info.folder.uri] = _spent_in(info.folder, dearest(plan.resources().get(name)))
    return sum(folders.values(), start=Spent())


def _spent_in(folder: Folder, price: tuple[float, float]) -> Spent:
    manifest = read_manifest(folder)
    if manifest is None:
        return Spent()
    names = [part.name for part in manifest.parts]
    facts = add_up(part.facts for part in read_committed(folder, names).values())
    read, written = (paid(facts, name) for name in ("prompt_tokens", "completion_tokens"))
    usd = (read * price[0] + written * price[1]) / 1e6
    return Spent(read + written, usd, manifest.wall_s / 3600)


def dearest(resources: Resources | None) -> tuple[float, float]:
    """The price of a stage's tokens; of several models the higher one, since tokens are counted for all together."""
    models = resources.models.values() if resources is not None else ()
    prices = [model.usd_per_million_tokens or (0.0, 0.0) for model in models]
    return max((each[0] for each in prices), default=0.0), max((each[1] for each in prices), default=0.0)


def cost_of_users(plan: Plan) -> Mapping[str, Values]:
    """Tokens and dollars of every user of a finished wave, whoever asked for their rows: float64[users]."""
    tokens: dict[str, float] = dict.fromkeys(
        read_rows(plan.stages["users"].folder, ["user_id"])["user_id"].to_pylist(), 0.0
    )
    usd = dict(tokens)
    for name, resources in plan.resources().items():
        if resources.models:
            price = dearest(plan.resources().get(name))
            columns = ["user_id", "prompt_tokens", "completion_tokens"]
            rows = read_rows(plan.stages[name].folder, columns)
            for user, read, written in zip(*(rows[column].to_pylist() for column in columns), strict=True):
                tokens[user] += read + written
                usd[user] += (read * price[0] + written * price[1]) / 1e6
    return {"tokens": np.array(list(tokens.values())), "usd": np.array(list(usd.values()))}


def continued(
    ledger: Ledger, limits: Mapping[str, float], spent: Spent, per_user: Mapping[str, Values]
) -> Ledger | None:
    """The ledger with the next wave, or ended by a limit; None where all users were worked on.

    Users are taken to cost `SURENESS` standard errors more than those before them did on average.
    """
    worked, left = ledger.worked, ledger.of - ledger.worked
    if left <= 0:
        return None
    enough_for = {
        name: _enough_for(limit - getattr(spent, name), _dear(name, spent, per_user, worked))
        for name, limit in limits.items()
    }
    name = min(enough_for, key=lambda limit: enough_for[limit])
    more = min(left, enough_for[name], worked * (GROWTH - 1))
    if more < max(1, LEAST_GROWTH * worked) and more < left:
        return replace(ledger, ended_by=name)
    return ledger.with_wave(worked + more)


def _dear(name: str, spent: Spent, per_user: Mapping[str, Values], worked: int) -> float:
    """What a further user may cost. Where it is not known of single users, that is what users took on average."""
    costs = per_user.get(name, np.zeros(0))
    if not len(costs):
        return WALL_MARGIN * float(getattr(spent, name)) / worked
    error = float(costs.std(ddof=1)) / math.sqrt(len(costs)) if len(costs) > 1 else 0.0
    return float(costs.mean()) + SURENESS * error


def _enough_for(left: float, cost: float) -> int:
    if left <= 0:
        return 0
    return math.floor(min(left / cost, 1e9)) if cost > 0 else 10**9


def told(ledger: Ledger, limits: Mapping[str, float], spent: Spent) -> dict[str, Any]:
    """What a result says of its budget."""
    return {
        "users": ledger.worked,
        "of": ledger.of,
        "waves": list(ledger.sizes),
        "limits": dict(limits),
        "spent": {name: round(getattr(spent, name), 6) for name in limits},
        "ended_by": ledger.ended_by,
    }


def budget_line(found: Mapping[str, Any]) -> str:
    """The same in a line."""
    amounts = ", ".join(
        f"{found['spent'][name]:,.6g} of {limit:,.6g} {name}" for name, limit in found["limits"].items()
    )
    ended = f"; the limit of {found['ended_by']} ended the run" if found["ended_by"] else ""
    users = f"all {found['of']:,} users of the job"
    if found["users"] < found["of"]:
        users = f"{found['users']:,} of {found['of']:,} users, a random sample"
    return f"Budget: {amounts} spent on {users}{ended}"

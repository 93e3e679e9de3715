"""What a run was: `run.json` binds a run's name to its settings and says with what it was made."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from drp_ray.config import Config, Model, checked
from drp_ray.errors import BadInput, without_passwords
from drp_ray.job.plan import Plan
from drp_ray.job.revisions import Revisions
from drp_ray.running.stage_info import StageInfo
from drp_ray.stages.order import STAGES
from drp_ray.stages.stage import base_name
from drp_ray.storage.folder import Folder, write_if_changed
from drp_ray.storage.versions import versions

RUN = "run.json"

Record = Mapping[str, Any]
"""The content of `run.json`."""


def read_record(folder: Folder) -> Record | None:
    """The record of a run; None where there is none yet.

    Raises:
        BadInput: it is damaged.
    """
    try:
        record: Record = json.loads(folder.read(RUN))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BadInput(f"{folder.uri}/{RUN} is damaged ({error}): delete it, or choose another name") from error
    if not isinstance(record, dict) or not {"made_from", "libraries", "commit"} <= record.keys():
        raise BadInput(f"{folder.uri}/{RUN} is no record of a run: delete it, or choose another name")
    return record


def recorded_revisions(record: Record | None) -> Revisions | None:
    """The commits of hub models that a run is bound to; a run from before they were recorded is bound to none."""
    if record is None:
        return None
    revisions: Revisions = record.get("revisions", {})
    return revisions


def recorded_config(record: Record, where: str) -> Config:
    """The settings of a run.

    The record has the defaults too. Those of models are left out here: some have no meaning for a model's engine, and
    are refused where they are given. So is a `judge` that is empty: in a record nobody judges then, in a job file a
    judge with the default settings does.

    Raises:
        BadInput: another version of this package made the run, which had other settings.
    """
    defaults = {name: field.default for name, field in Model.model_fields.items()}
    models = {
        name: {key: value for key, value in model.items() if key not in defaults or value != defaults[key]}
        for name, model in record["config"]["models"].items()
    }
    evaluation = {key: value for key, value in record["config"].get("evaluation", {}).items() if value != {}}
    return checked({**record["config"], "models": models, "evaluation": evaluation}, where)


def check_run_name(folder: Folder, config: Config, plan: Plan) -> None:
    """A run name stands for one set of settings.

    Raises:
        BadInput: the run exists with other settings; they are listed.
    """
    record = read_record(folder)
    if record is None:
        return
    earlier, now = _identity(record["made_from"]), _made_from(config, plan)
    if config.budget.limits and any((record["config"].get("budget") or {}).values()):
        earlier, now = _without_size(earlier), _without_size(now)  # the run's ledger says whose waves these are
    differing = sorted(_differences_of(earlier, now))
    if differing:
        raise BadInput(
            f"{folder.uri}: a run named {config.name!r} exists with other settings "
            f"({'; '.join(differing)}). Choose another name; nothing was overwritten."
        )


def _made_from(config: Config, plan: Plan) -> Any:
    stages = {name: {"settings": info.made_from["settings"]} for name, info in plan.stages.items()}
    return _identity(json.loads(without_passwords(json.dumps({"method": config.method, "stages": stages}))))


def _without_size(made_from: Any) -> Any:
    """Leave out how many users a wave has, and with which seed they are drawn where some are."""
    users = made_from["stages"]["users"]
    chosen = _without(users["settings"]["users"], ("sample", "limit", "seed"))
    return {
        **made_from,
        "stages": {**made_from["stages"], "users": {"settings": {**users["settings"], "users": chosen}}},
    }


def _identity(made_from: Any) -> Any:
    """Leave out what follows from the libraries installed, and stages that only evaluate: they may come later."""
    from_libraries = {stage.name: stage.from_libraries for stage in STAGES}
    added_later = {stage.name for stage in STAGES if stage.only_evaluates}
    stages = {
        name: {"settings": _without(stage["settings"], from_libraries.get(name, ()))}
        for name, stage in made_from["stages"].items()
        if base_name(name) not in added_later
    }
    return {**made_from, "stages": stages}


def _without(settings: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in names}


def _differences_of(earlier: Any, now: Any, place: str = "") -> list[str]:
    if isinstance(earlier, dict) and isinstance(now, dict):
        keys = sorted({*earlier, *now})
        return [
            line
            for key in keys
            for line in _differences_of(earlier.get(key), now.get(key), f"{place}.{key}" if place else key)
        ]
    return [] if earlier == now else [f"{place}: {_short(earlier)} there, {_short(now)} here"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def write_run(folder: Folder, config: Config, plan: Plan, revisions: Revisions | None = None) -> None:
    """Write down the resolved settings, the stages' folders, and with which versions and commit the run went on when.

    `history` grows by an entry whenever the versions are others than those of its last one. Stages that only evaluate
    and are not in the plan stay where an earlier plan of the run had them.
    """
    earlier = read_record(folder)
    record = {
        "name": config.name,
        "protocol": config.protocol,
        "made_from": _made_from(config, plan),
        "config": config.model_dump(mode="json"),
        "stages": {name: _stage_record(info) for name, info in plan.stages.items()} | added_stages(earlier, plan),
        "revisions": {**(recorded_revisions(earlier) or {}), **(revisions or {})},
        "libraries": _without(versions(), ("commit",)),
        "commit": versions().get("commit"),
        "history": _history(earlier),
    }
    # The settings hold addresses, and addresses may hold passwords.
    write_if_changed(folder, RUN, without_passwords(json.dumps(record, indent=1, sort_keys=True)).encode())


def _stage_record(info: StageInfo) -> dict[str, Any]:
    record = {"fingerprint": info.fingerprint, "folder": info.folder.uri}
    is_added_later = base_name(info.name) in {stage.name for stage in STAGES if stage.only_evaluates}
    return {**record, "made_from": dict(info.made_from)} if is_added_later else record


def added_stages(record: Record | None, plan: Plan) -> dict[str, dict[str, Any]]:
    """The stages that evaluated what a run has predicted, and that are not in its plan now, by name.

    They are `drp-ray evaluate`'s, or of a time when the job named a judge that it no longer names. Those that evaluated
    other predictions than the plan's are left out.
    """
    if record is None:
        return {}
    return {
        name: stage
        for name, stage in record.get("stages", {}).items()
        if name not in plan.stages
        and all(
            source in plan.stages and plan.stages[source].fingerprint == fingerprint
            for source, fingerprint in stage.get("made_from", {"inputs": {"": ""}})["inputs"].items()
        )
    }


def _history(record: Record | None) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = []
    if record is not None:
        before = {**record["libraries"], **({"commit": record["commit"]} if record["commit"] else {})}
        history = record.get("history") or [{"versions": before, "since": None}]
    if history and history[-1]["versions"] == versions():
        return history
    return [*history, {"versions": versions(), "since": datetime.now(UTC).isoformat(timespec="seconds")}]

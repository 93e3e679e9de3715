"""A job that is opened: its configuration, its dataset and the folders of all that is made of it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from drp_ray.config import Config, cache_folder, pseudonym_key, s3_options
from drp_ray.inputs.dataset import Dataset
from drp_ray.job.budget import read_ledger, within_budget
from drp_ray.job.plan import Plan, make_plan
from drp_ray.job.revisions import Revisions, look_up, pinned
from drp_ray.job.run_record import read_record, recorded_revisions
from drp_ray.running.survey import is_current
from drp_ray.storage.folder import Folder, check_reachable, open_folder, parent_of
from drp_ray.storage.parts import Manifest, read_whole_manifest


@dataclass(frozen=True)
class OpenedJob:
    """A configuration with what it names. `root` is the folder of all that is made of the dataset.

    `revisions` are the commits that hub models without a revision were pinned to, None for those that could not be.
    """

    config: Config
    dataset: Dataset
    plan: Plan
    root: Folder
    revisions: Revisions

    @property
    def run_folder(self) -> Folder:
        """Where the run's record and its result are."""
        return self.root.at("runs", self.config.name)

    @property
    def cache(self) -> Path:
        """Where things that are fetched once a machine are kept."""
        return cache_folder(self.config.runtime)

    def manifests(self) -> dict[str, Manifest | None]:
        """The manifest of every stage, in order; one whose files are not all there counts as not done."""
        return {name: read_whole_manifest(info.folder) for name, info in self.plan.stages.items()}

    def current_manifests(self, names: Iterable[str]) -> dict[str, Manifest] | None:
        """The manifests of the named stages, if all are done and made from what their inputs hold now."""
        manifests, current = self.manifests(), {}
        for name in names:
            manifest = manifests[name]
            if manifest is None or not is_current(manifest, manifests):
                return None
            current[name] = manifest
        return current


def open_job(config: Config) -> OpenedJob:
    """Open the dataset, load the prompt pack and name every folder; nothing is written.

    Raises:
        BadInput: the dataset, the root or something that the configuration names is not there.
    """
    s3 = s3_options()
    root = open_folder(config.root, s3)
    check_reachable(root)
    folder = open_folder(config.dataset, s3)
    check_reachable(folder)
    dataset = Dataset.open(folder, parent_of(folder, s3))
    folder = root.at(dataset.name)
    revisions = look_up(config, recorded_revisions(read_record(folder.at("runs", config.name))))
    config = pinned(config, revisions)
    if config.budget.limits:
        config = within_budget(config, read_ledger(folder.at("runs", config.name)))
    key = pseudonym_key() if config.users.pseudonyms else None
    dataset = replace(dataset, drops_leaks=config.users.leaks == "drop", pseudonym_key=key)
    plan = make_plan(config, dataset.name, dataset.identity(), root)
    return OpenedJob(config, dataset, plan, folder, revisions)

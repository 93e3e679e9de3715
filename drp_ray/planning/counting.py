"""Goes through stages on engines that only count, which reply as far as it is known how the real ones do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from drp_ray.config import s3_options
from drp_ray.engines.base import Engine
from drp_ray.job.opened_job import OpenedJob
from drp_ray.llm.model_worker import ModelRow, ModelWorker
from drp_ray.planning.asked import Call, CountingEngine, PrefixCache, made_row
from drp_ray.planning.calibration import Calibration
from drp_ray.planning.replies import Known, Lengths, earlier_replies, replies_of_length
from drp_ray.planning.tokens import Tokenizer, context_length
from drp_ray.planning.trial import Asked, Trial
from drp_ray.storage.folder import open_folder

FILLER_CHARACTERS = 4_000
"""Of users' texts, of which replies are made that nobody knows."""


@dataclass
class Counting:
    """Asks rows of engines that only count; `bases` is filled with how each role's replies are known."""

    job: OpenedJob
    trial: Trial
    tokenizers: Mapping[str, Tokenizer]
    lengths: Lengths
    measured: Calibration
    bases: dict[tuple[str, str], Known] = field(default_factory=dict)

    async def ask(
        self, name: str, worker: ModelWorker, rows: Sequence[ModelRow], before: Sequence[Sequence[ModelRow]]
    ) -> list[Asked]:
        """All rows, in their order.

        Raises:
            Exception: what nobody foresaw, where it fails most rows: a run would raise it too.
        """
        self.bases |= {(name, role): self._known(name, worker, role) for role in worker.roles}
        caches = {model: PrefixCache() for model in worker.models}
        done, unforeseen = [], list[Exception]()
        for row, earlier in zip(rows, before, strict=True):
            for other in earlier:
                await made_row(other, worker, self._engines(name, worker, other, caches, [], most_calls=1))
            calls: list[Call] = []
            made = await made_row(row, worker, self._engines(name, worker, row, caches, calls), unforeseen)
            done.append(Asked(row.blank["user_id"], made, calls))
        if 2 * len(unforeseen) > len(rows):
            raise unforeseen[0]
        return done

    def bases_of(self, stage: str, asked: Sequence[Asked]) -> dict[str, Known]:
        """How the replies of each role that writes freely in a stage are known."""
        roles = {call.role for each in asked for call in each.calls if call.is_free}
        return {role: self.bases[stage, role] for role in sorted(roles)}

    def _engines(
        self,
        name: str,
        worker: ModelWorker,
        row: ModelRow,
        caches: Mapping[str, PrefixCache],
        calls: list[Call],
        most_calls: int | None = None,
    ) -> dict[str, Engine]:
        models = self.job.plan.models()
        return {
            role: CountingEngine(
                role,
                spec.model,
                row.key,
                self.tokenizers[spec.model],
                caches[spec.model],
                self.bases[name, role].replies,
                context_length(models[spec.model]),
                calls,
                most_calls,
            )
            for role, spec in worker.roles.items()
        }

    def _known(self, stage: str, worker: ModelWorker, role: str) -> Known:
        """What is known of a role's replies: a stated length, else measured ones, else the most that they may have."""
        spec = worker.roles[role]
        tokenizer, filler = self.tokenizers[spec.model], self._filler()
        if role in self.lengths.by_role:
            tokens = self.lengths.by_role[role]
            return Known(replies_of_length(tokens, filler, tokenizer), "stated", f"--reply-tokens {role}={tokens}")
        if (stage, role) in self.measured.replies:
            return self.measured.replies[stage, role]
        root = open_folder(self.job.config.root, s3_options())
        names = [name for name in root.folders() if name != self.job.dataset.name]
        datasets = [self.job.root, *(root.at(name) for name in names)]
        settings = self.job.plan.stages[stage].made_from["settings"]
        found = earlier_replies(datasets, stage, settings, role, tokenizer, spec.thinking != "never")
        if found is not None:
            return found
        longest = spec.sampling.max_tokens
        return Known(replies_of_length(longest, filler, tokenizer), "at most", f"max_tokens of {longest:,}")

    def _filler(self) -> str:
        return " ".join(user["target"]["text"] for user in self.trial.sample.users)[:FILLER_CHARACTERS] or "…"

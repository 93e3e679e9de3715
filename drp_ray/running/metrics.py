"""What a running job tells Prometheus, through the metrics that every Ray node exports.

Ray puts `ray_` before the names, and `_total` behind those that only grow. All have the label `stage`.
"""

from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge, Histogram

GROWING = {
    "rows": "Rows that came to an end, error rows among them.",
    "errors": "Rows that became error rows.",
    "prompt_tokens": "Tokens of prompts, those of failed attempts too.",
    "cached_tokens": "Tokens of prompts that the engine had in its prefix cache.",
    "completion_tokens": "Tokens that the models wrote.",
}
"""What workers count, and what it means."""

IN_FLIGHT = "in_flight"
PART_SECONDS = [1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000]
PREFIX = "drp_"


class StageMetrics:
    """The metrics of the stage that runs. One process of a job has them, since counters of several would add up."""

    def __init__(self) -> None:
        self._growing = {name: Counter(PREFIX + name, says, ("stage",)) for name, says in GROWING.items()}
        self._in_flight = Gauge(PREFIX + IN_FLIGHT, "Rows that models are asked about at this moment.", ("stage",))
        self._part_seconds = Histogram(PREFIX + "part_seconds", "Work on one part.", PART_SECONDS, ("stage",))

    def add(self, stage: str, counts: Mapping[str, float], in_flight: float) -> None:
        """Add counts of workers; `in_flight` is what they come to altogether."""
        for name, counter in self._growing.items():
            if counts.get(name, 0) > 0:
                counter.inc(counts[name], {"stage": stage})
        self._in_flight.set(in_flight, {"stage": stage})

    def part_took(self, stage: str, seconds: float) -> None:
        """Note how long the work on one part took."""
        self._part_seconds.observe(seconds, {"stage": stage})

"""How many different things set each user apart: the keys of the taxonomy that the user's differences fall under."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from drp_ray.evaluation.analyses.taxonomy import KEYS
from drp_ray.schema import Row


@dataclass
class FeatureCounts:
    """The differences of one user. `directions` has those of each key that occurred."""

    directions: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    features: int = 0
    other: int = 0
    unreadable: int = 0
    comparisons: int = 0
    failed: int = 0

    @property
    def unique_keys(self) -> int:
        """How many keys occurred, a key with both directions once."""
        return len(self.directions)

    @property
    def contradictory(self) -> int:
        """How many keys occurred in both directions."""
        return sum(len(found) > 1 for found in self.directions.values())

    def add(self, row: Row) -> None:
        """Count a row of `schema.FEATURE_KEYS`; one that failed is only counted as that."""
        self.comparisons += 1
        if row["status"] != "ok" or row["failed"]:
            self.failed += 1
            return
        for feature in row["keys"]:
            self.features += 1
            if not feature["readable"]:
                self.unreadable += 1
            elif feature["key"] is None:
                self.other += 1
            else:
                self.directions[feature["key"]].add(feature["direction"])

    @property
    def is_known(self) -> bool:
        """Whether the user has a comparison that did not fail: else nothing is known of what sets the user apart."""
        return self.comparisons > self.failed


def counts_of(rows: Iterable[Row]) -> dict[str, FeatureCounts]:
    """The counts of every user who was compared."""
    counts: dict[str, FeatureCounts] = defaultdict(FeatureCounts)
    for row in rows:
        counts[row["user_id"]].add(row)
    return dict(counts)


def users_by_key(counts: Iterable[FeatureCounts]) -> dict[str, int]:
    """How many users have each key, also those that nobody has."""
    users = dict.fromkeys((key.name for key in KEYS), 0)
    for found in counts:
        for key in found.directions:
            users[key] += 1
    return users

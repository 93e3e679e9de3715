"""What a method reads besides the target: one object a need, with all that follows from it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Need:
    """What a method needs of a user.

    `columns` are the lists of `UserContext` that must not be empty, or the method cannot run and the method named
    `fallback` runs instead. `stages` are those that a job needs for it besides the ones that every job has; a stage
    with the name of a column makes that column.
    """

    name: str
    columns: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    fallback: str = ""

    @property
    def delivered_by(self) -> tuple[str, ...]:
        """The stages whose rows the contexts hold."""
        return tuple(stage for stage in self.stages if stage in self.columns)


NEEDS = {
    need.name: need
    for need in (
        Need("nothing"),
        Need("history", ("history",), fallback="nonperso"),
        Need("profile", ("history", "profile"), fallback="nonperso"),
        Need("contrast", ("history", "peers"), ("peers",), fallback="intsum"),
        Need("neighbour", ("history", "peers"), ("items", "embeddings", "peers"), fallback="intsum"),
        Need(
            "differences",
            ("history", "differences"),
            ("items", "embeddings", "comparisons", "differences"),
            fallback="intsum",
        ),
    )
}
"""By name: nothing; the N most relevant past reviews (`history`); and besides these the whole profile, another user's
review of an item of theirs (`contrast`), the reviews of the most similar user (`neighbour`), or the differences."""

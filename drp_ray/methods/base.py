"""What a method is: an async function from a user to a review; and what finds a user's differences.

Both ask language models as often as they like through `Ask`, and know nothing of engines, retries, budgets
or files. A new one is one decorated function in a new file of this package.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from drp_ray.config import Dimension, Role
from drp_ray.llm.replies import Feature
from drp_ray.methods.needs import NEEDS, Need
from drp_ray.prompts.pack import PromptPack
from drp_ray.prompts.prompt import Prompt, Templates
from drp_ray.schema import Row

Asker = Literal["extractor", "validator", "summarizer", "generator"]
"""The roles that methods ask."""


class Ask(Protocol):
    """Asks the model that plays a role."""

    async def __call__(self, role: Asker, prompt: Prompt, marker: str | None = None) -> str:
        """Return the answer, which is never empty, without any thinking.

        Where `marker` is given (`Review` for `[Review]:`), it is removed with all that stands before it.
        """


@dataclass(frozen=True)
class UserContext:
    """What is known of one user: a row of `schema.CONTEXTS` without its reference.

    `history`, `differences` and `peers` are ordered by rank, the best first; `profile` by time. `peers` holds one
    review where the method needs a contrast, up to N reviews of the neighbour where it needs one.
    """

    user_id: str
    target: Row
    history: Sequence[Row]
    differences: Sequence[Row]
    profile: Sequence[Row] = ()
    peers: Sequence[Row] = ()

    @classmethod
    def from_row(cls, row: Row) -> "UserContext":
        """Take a row of `schema.CONTEXTS`; null lists are empty ones."""
        lists = {name: row.get(name) or [] for name in ("history", "differences", "profile", "peers")}
        return cls(row["user_id"], row["target"], **lists)


@dataclass(frozen=True)
class Written:
    """What a method wrote: the prediction, and the profile summary where it made one."""

    prediction: str
    summary: str | None = None


@dataclass(frozen=True)
class Extracted:
    """The differences found in one comparison: the model's texts, and what could be parsed of the last."""

    extracted: str
    validated: str | None = None
    features: list[Feature] = field(default_factory=list)


Write = Callable[[UserContext, Ask, PromptPack], Awaitable[Written]]
FindDifferences = Callable[[Row, Ask, PromptPack, Sequence[Dimension]], Awaitable[Extracted]]
Asks = Mapping[Role, Templates]
Origin = Mapping[str, str]


@dataclass(frozen=True)
class Programme:
    """A named piece of work with language models, and all of it that its results depend on."""

    name: str
    version: int
    asks: Asks | Mapping[Role, Templates]
    """The roles it asks, and the templates it asks each of them with."""

    origin: Origin = field(default_factory=dict, kw_only=True)
    """Where a method of a user's own comes from; empty for those of this package."""

    @property
    def fallbacks(self) -> tuple["Programme", ...]:
        """The simpler programmes that work for users whose data do not allow this one, the next one first."""
        return ()

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles that it or a fallback asks, in a fixed order."""
        return tuple(sorted({role for each in (self, *self.fallbacks) for role in each.asks}))

    @property
    def templates(self) -> tuple[str, ...]:
        """The names of all templates that it or a fallback uses, for `PromptPack.sources_of`."""
        asked = [templates for each in (self, *self.fallbacks) for templates in each.asks.values()]
        return tuple(sorted({name for templates in asked for name in templates}))


@dataclass(frozen=True)
class Method(Programme):
    """A way to write a user's review. Differences, if needed, come from the programme of the same name."""

    needs: Need
    write: Write

    @property
    def fallbacks(self) -> tuple["Method", ...]:
        """See `Programme`; drp and dpl have intsum and nonperso."""
        if not self.needs.fallback:
            return ()
        simpler = METHODS[self.needs.fallback]
        return simpler, *simpler.fallbacks


@dataclass(frozen=True)
class DifferenceProgramme(Programme):
    """A way to find what sets a user apart from the representatives of one item.

    `differ` takes a row of `schema.COMPARISONS` and the dimensions to compare in.
    """

    differ: FindDifferences


METHODS: dict[str, Method] = {}
DIFFERENCES: dict[str, DifferenceProgramme] = {}


def method(name: str, *, needs: str, asks: Asks, version: int = 1) -> Callable[[Write], Write]:
    """Register the function below as a method; `needs` is a name in `NEEDS`.

    Raise `version` when a change to the function changes results.
    """

    def register(write: Write) -> Write:
        _add(METHODS, Method(name, version, asks, NEEDS[needs], write))
        return write

    return register


def differences(name: str, *, asks: Asks, version: int = 1) -> Callable[[FindDifferences], FindDifferences]:
    """Register the function below as a difference programme. Raise `version` as for a method."""

    def register(differ: FindDifferences) -> FindDifferences:
        _add(DIFFERENCES, DifferenceProgramme(name, version, asks, differ))
        return differ

    return register


def method_or_fallback(method: Method, user: UserContext) -> Method:
    """The method, or the next simpler one that this user's data allow (drp and dpl → intsum → nonperso).

    cicl and persona-db fall back in the same way where nobody else reviewed the user's items.
    """
    return next(
        each for each in (method, *method.fallbacks) if all(getattr(user, column) for column in each.needs.columns)
    )


def _add(registry: dict[str, Any], programme: Programme) -> None:
    known = registry.setdefault(programme.name, programme)
    if known is not programme:
        raise ValueError(f"two {type(programme).__name__}s are named {programme.name!r}; rename one of them")

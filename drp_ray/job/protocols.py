"""Protocols: which executions a published number is the mean of. A protocol changes no row, only which runs are made.

A name is one of `PROTOCOLS`, or two joined by `+` that settle different things, such as `dpl+yelp-100x5`: DPL's
temperatures, on five samples of users.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from math import prod
from typing import Any

from drp_ray.config import ROLES, known_protocol
from drp_ray.errors import BadInput

Place = tuple[str, ...]
"""The keys that lead to a setting."""

TEMPERATURE: Place = ("sampling", "temperature")
AVERAGED: tuple[Place, ...] = (TEMPERATURE, ("sampling", "seed"), ("users", "seed"))
"""The settings over which runs are averaged: those that draw again, not those of a single role, which are a choice."""


@dataclass(frozen=True)
class Protocol:
    """What a protocol says: the values of settings to run and to average over, and settings of one value or of none."""

    name: str
    averaged: Mapping[Place, tuple[Any, ...]] = field(default_factory=dict)
    fixed: Mapping[Place, Any] = field(default_factory=dict)
    absent: tuple[Place, ...] = ()

    @property
    def executions(self) -> int:
        """How many runs one number is the mean of."""
        return prod(len(values) for values in self.averaged.values())

    def joined(self, other: "Protocol") -> "Protocol":
        """Both together."""
        return Protocol(
            f"{self.name}+{other.name}",
            {**self.averaged, **other.averaged},
            {**self.fixed, **other.fixed},
            self.absent + other.absent,
        )

    def settles(self) -> set[str]:
        """The sections of a job that it decides about."""
        return {place[0] for place in (*self.averaged, *self.fixed, *self.absent)}


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("dpl", {TEMPERATURE: (0.2, 0.4, 0.6, 0.8, 1.0)}),
        Protocol("drp", {TEMPERATURE: (0, 0.8)}),
        Protocol(
            "yelp-100x5",
            {("users", "seed"): (0, 1, 2, 3, 4)},
            fixed={("users", "sample"): 100},
            absent=(("users", "limit"),),
        ),
        Protocol("full", absent=(("users", "limit"), ("users", "sample"))),
    )
}
"""By name: the two papers' temperatures, five samples of 100 users, and all users."""


def find_protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        BadInput: there is none, or two parts of the name settle the same settings.
    """
    try:
        found, *others = (PROTOCOLS[part] for part in known_protocol(name).split("+"))
    except ValueError as error:
        raise BadInput(f"protocol: {error}") from error
    for other in others:
        if found.settles() & other.settles():
            raise BadInput(f"protocol {name}: {found.name} and {other.name} settle the same settings; name one of them")
        found = found.joined(other)
    return found


def expand(settings: Mapping[str, Any], protocol: str | None) -> dict[str, Any]:
    """The settings of a job with the lists that its protocol asks for; unchanged without a protocol.

    A list of the file that holds the protocol's values stays as it is, in its order. A single value that is one of
    them becomes all of them.

    Raises:
        BadInput: the settings contradict the protocol.
    """
    expanded = deepcopy(dict(settings))
    if protocol is None:
        return expanded
    chosen = find_protocol(protocol)
    expanded["protocol"] = chosen.name
    for section in ("sampling", "users"):
        if isinstance(settings.get(section), list):
            _refuse(chosen, (section,), settings[section], "needs its settings one by one; make lists of single ones")
    for place in chosen.absent:
        if _value(settings, place) is not None:
            _refuse(chosen, place, _value(settings, place), "is about other users; leave it out")
    for place, value in chosen.fixed.items():
        if _value(settings, place) not in (None, value):
            _refuse(chosen, place, _value(settings, place), f"needs {value}")
        _put(expanded, place, value)
    for place, values in chosen.averaged.items():
        _put(expanded, place, _values(chosen, place, values, _value(settings, place)))
    _check_nothing_else_is_averaged(chosen, settings)
    return expanded


def _values(protocol: Protocol, place: Place, values: tuple[Any, ...], given: Any) -> list[Any]:
    """The values of an averaged setting: the protocol's, in the order of the file where that has them all."""
    is_list = isinstance(given, list)
    if is_list and len(given) == len(values) and all(value in given for value in values):
        return list(given)
    if given is not None and (is_list or given not in values):
        _refuse(protocol, place, given, f"needs {', '.join(map(str, values))}; leave it out")
    return list(values)


def _check_nothing_else_is_averaged(protocol: Protocol, settings: Mapping[str, Any]) -> None:
    """Refuse means over more than the protocol says, and roles that do not draw at its temperatures."""
    for place in AVERAGED:
        value = _value(settings, place)
        if place not in protocol.averaged and isinstance(value, list):
            _refuse(protocol, place, value, "does not average over it; give one value, or join the protocol that does")
    if TEMPERATURE in protocol.averaged:
        for role in ROLES:
            place = ("sampling", role, "temperature")
            if role != "judge" and _value(settings, place) is not None:
                _refuse(protocol, place, _value(settings, place), "has one temperature in every role; leave it out")


def _refuse(protocol: Protocol, place: Place, value: Any, sentence: str) -> None:
    raise BadInput(
        f"{'.'.join(place)} is {value!r}, but the protocol {protocol.name} {sentence}, or set protocol: null"
    )


def _value(settings: Mapping[str, Any], place: Place) -> Any:
    found: Any = settings
    for key in place:
        if not isinstance(found, Mapping):
            return None
        found = found.get(key)
    return found


def _put(settings: dict[str, Any], place: Place, value: Any) -> None:
    *parents, last = place
    section = settings
    for parent in parents:
        if not isinstance(section.get(parent), dict):
            section[parent] = {}
        section = section[parent]
    section[last] = value


def single_execution(settings: Mapping[str, Any], protocol: str | None) -> dict[str, Any]:
    """The settings of a job that is run by itself.

    Raises:
        BadInput: its protocol has several executions, or contradicts the settings.
    """
    expanded = expand(settings, protocol)
    if protocol is not None and (executions := find_protocol(protocol).executions) > 1:
        raise BadInput(
            f"protocol {expanded['protocol']} has {executions} executions: use drp-ray sweep, or --set protocol=null "
            "for a single run"
        )
    return expanded


def check_same_protocol(protocols: Mapping[str, str | None], mixed_allowed: bool) -> bool:
    """Whether the rows of a table, by name, are of several protocols and so must be marked (`marked`).

    A row without a protocol is of none of them.

    Raises:
        BadInput: they are, and nobody asked for that.
    """
    is_mixed = len(set(protocols.values())) > 1
    if is_mixed and not mixed_allowed:
        rows = ", ".join(f"{name} ({protocol or 'no protocol'})" for name, protocol in protocols.items())
        raise BadInput(
            f"rows of different protocols are no fair comparison: {rows}. Compare runs of one protocol, or give "
            "--mixed-protocols to have the rows marked"
        )
    return is_mixed


def check_protocol_asked(protocols: Mapping[str, str | None], asked: str, mixed_allowed: bool) -> None:
    """See that results, by name, are of the protocol that was asked for: a run's folder keeps the one it was made by.

    Raises:
        BadInput: there is no such protocol, or one of them is of another and nobody asked for that.
    """
    name = find_protocol(asked).name
    others = ", ".join(
        f"{run} ({protocol or 'no protocol'})" for run, protocol in protocols.items() if protocol != name
    )
    if others and not mixed_allowed:
        raise BadInput(
            f"not of the protocol {name}: {others}. A folder's protocol is the one of its run: give the job file, or "
            "--mixed-protocols to have the rows marked"
        )


def marked(name: str, protocol: str | None) -> str:
    """The name of a row in a table of several protocols."""
    return f"{name} ({protocol or 'no protocol'})"

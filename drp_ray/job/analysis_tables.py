"""The tables that `drp-ray analyse` prints; the JSON has more."""

from collections.abc import Iterator, Mapping
from typing import Any

from drp_ray.console import Table
from drp_ray.job.protocols import marked

Found = Mapping[str, Any]


def tables_of(found: Found) -> Iterator[Table]:
    """The tables of an analysis, those that it has data for."""
    yield from _uniqueness_tables(found)
    yield from _curve_tables(found)
    yield from _bin_tables(found)
    yield from _feature_tables(found)


def missing_lines(found: Found) -> list[str]:
    """What could not be analysed, and what it needs."""
    parts = {"uniqueness": found["uniqueness"], **{f"unique features of {n}": f for n, f in _features(found)}}
    refused = [f"uniqueness: {pair['note']}" for pair in found["uniqueness"].get("pairs", ()) if pair["note"]]
    return [*(f"{name}: {part['missing']}" for name, part in parts.items() if "missing" in part), *refused]


def _features(found: Found) -> list[tuple[str, Found]]:
    return list(found["unique_features"].items())


def _name(found: Found, run: str) -> str:
    return marked(run, found["protocols"][run]) if found["mixed_protocols"] else run


def _uniqueness_tables(found: Found) -> Iterator[Table]:
    uniqueness = found["uniqueness"]
    for pair in uniqueness.get("pairs", ()):
        if pair["note"]:
            continue
        title = f"gain of {_name(found, pair['a'])} over {_name(found, pair['b'])}, by uniqueness"
        table = Table("metric", "more unique", "n", "less unique", "n", "difference of gains", title=title)
        for metric, gains in pair["measures"].items():
            halves = [gains[half] for half in ("more_unique", "less_unique")]
            cells = [cell for half in halves for cell in (_with_interval(half, "gain"), f"{half['n']:,}")]
            table.add_row(metric, *cells, _with_interval(gains["contrast"], "difference"))
        yield table


def _curve_tables(found: Found) -> Iterator[Table]:
    for curve in found["curves"]:
        metrics = list(curve["points"][0]["measures"])
        title = f"{curve['method']} by {curve['setting']}, {curve['users']:,} users"
        table = Table(curve["setting"], *metrics, title=title)
        for point in curve["points"]:
            cells = (_with_interval(point["measures"][metric], "mean") for metric in metrics)
            table.add_row(str(point["value"]), *cells)
        yield table


def _bin_tables(found: Found) -> Iterator[Table]:
    for run, covariates in found["bins"].items():
        for covariate, binned in covariates.items():
            metrics = list(binned["bins"][0]["measures"]) if binned["bins"] else []
            table = Table(covariate.replace("_", " "), "users", *metrics, title=f"{_name(found, run)} by {covariate}")
            for each in binned["bins"]:
                span = f"{each['low']:g}" if each["low"] == each["high"] else f"{each['low']:g} to {each['high']:g}"
                cells = (_with_interval(each["measures"][metric], "mean") for metric in metrics)
                table.add_row(span, f"{each['users']:,}", *cells)
            yield table


def _feature_tables(found: Found) -> Iterator[Table]:
    for run, features in _features(found):
        if "missing" in features:
            continue
        table = Table("", "", "users", title=f"{_name(found, run)}: unique valid features")
        mean = features["unique_keys"]
        table.add_row("features a user", _with_interval(mean, "mean"), f"{mean['n']:,}")
        for metric, rho in features["correlation"].items():
            table.add_row(f"rank correlation with {metric}", _with_interval(rho, "rho"), f"{rho['n']:,}")
        yield table


def _with_interval(estimate: Found, name: str) -> str:
    if estimate[name] is None:
        return "missing"
    interval = "" if estimate["ci95"] is None else " [{:.4f}, {:.4f}]".format(*estimate["ci95"])
    return f"{estimate[name]:.4f}{interval}"

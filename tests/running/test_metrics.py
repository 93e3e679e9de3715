"""What Prometheus gets of a running job, read where it would scrape it: at Ray's agent, over HTTP."""

import json
import re
import time
import urllib.request
from pathlib import Path

import pytest

from drp_ray.running.dealing import PartToDo
from drp_ray.running.monitor import start_monitor

DASHBOARD = Path(__file__).parents[2] / "docs/grafana-dashboard.json"
REPORTED_EVERY_S = 10


def scrape(ray) -> str:
    node = ray.nodes()[0]
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(address, timeout=10) as answer:
        return answer.read().decode()


def value(text: str, name: str, stage: str) -> float | None:
    found = re.search(rf'^ray_drp_{name}{{[^}}]*stage="{stage}"[^}}]*}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else None


@pytest.fixture(scope="module")
def scraped(ray_here):
    """What two stages left, once Ray has reported the last of it."""
    monitor = start_monitor()

    def tell(method, *arguments):
        ray_here.get(getattr(monitor, method).remote(*arguments))

    tell("reset", "first")
    tell("add", {"rows": 3, "errors": 1, "prompt_tokens": 70, "cached_tokens": 20, "completion_tokens": 5})
    tell("begin_deal", "a deal", [PartToDo("part-00000.parquet", 4), PartToDo("part-00001.parquet", 3)])
    tell("add", {"rows": 3, "in_flight": 2}, "a deal")
    tell("add", {"rows": 100}, "an earlier deal")
    tell("end", "a deal", "worker 1", "part-00000.parquet", {}, {"rows": 1}, 5.0)
    tell("end", "a deal", "worker 1", "part-00001.parquet", {}, {})
    tell("reset", "second")
    tell("add", {"in_flight": 3})
    tell("add", {"in_flight": -1})
    tell("add", {"rows": 1})
    until = time.monotonic() + 5 * REPORTED_EVERY_S
    while value(text := scrape(ray_here), "rows_total", "second") is None and time.monotonic() < until:
        time.sleep(0.5)
    return text


def test_every_stage_has_its_counts(scraped):
    assert value(scraped, "rows_total", "first") == 7
    assert value(scraped, "rows_total", "second") == 1
    assert value(scraped, "errors_total", "first") == 1
    assert value(scraped, "prompt_tokens_total", "first") == 70
    assert value(scraped, "cached_tokens_total", "first") == 20
    assert value(scraped, "completion_tokens_total", "first") == 5


def test_nothing_of_a_stage_that_ended_is_in_flight(scraped):
    assert value(scraped, "in_flight", "first") == 0
    assert value(scraped, "in_flight", "second") == 2


def test_parts_that_were_worked_on_have_their_time(scraped):
    assert value(scraped, "part_seconds_count", "first") == 1


def test_the_dashboard_asks_for_what_is_there(scraped):
    queries = [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]]
    asked = {name for query in queries for name in re.findall(r"ray_drp_\w+", query)}
    there = set(re.findall(r"^(ray_drp_\w+){", scraped, re.MULTILINE))
    assert asked
    assert asked <= there
    shown = {re.sub("_(bucket|sum|count)$", "", name) for name in asked}
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in there} == shown, "nothing is exported that nobody sees"

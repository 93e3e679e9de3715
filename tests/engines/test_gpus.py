"""Several models in one worker: each takes GPUs of its own, or a part of one."""

from collections import Counter
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.engines.base import ModelSpec
from drp_ray.engines.gpus import gpus_of_worker, on_their_gpus, places
from drp_ray.llm.live_engine import live_engines

PARTS = st.floats(0.01, 0.99) | st.sampled_from([0.1, 0.25, 0.5, 0.7])
MODELS = st.dictionaries(st.text("abc", min_size=1, max_size=3), PARTS | st.integers(0, 3), max_size=6)


@given(MODELS)
def test_whole_gpus_are_a_models_own_and_parts_fit_theirs(gpus):
    taken = places(gpus)
    assert taken.keys() == gpus.keys()
    takers = Counter(number for numbers in taken.values() for number in numbers)
    assert sorted(takers) == list(range(len(takers)))
    for name, numbers in taken.items():
        assert len(set(numbers)) == (int(gpus[name]) if gpus[name] == int(gpus[name]) else 1)
        if numbers and gpus[name] >= 1:
            assert {takers[number] for number in numbers} == {1}
    for number in takers:
        sharers = [gpus[name] for name, numbers in taken.items() if number in numbers]
        assert len(sharers) == 1 or sum(sharers) <= 1 + 1e-6
    count = gpus_of_worker(gpus)
    assert count == len(takers) if len(takers) > 1 else count <= 1
    assert count >= min(1.0, sum(gpus.values())) - 1e-6


class Noted:
    """An engine that notes which devices it was made with."""

    devices: ClassVar[dict[str, tuple[str, ...] | None]] = {}

    def __init__(self, spec: ModelSpec) -> None:
        self.devices[spec.id] = spec.devices


def models_of(**gpus):
    return {
        name: ModelSpec(id=name, num_gpus=count, tensor_parallel=max(1, int(count))) for name, count in gpus.items()
    }


@pytest.mark.parametrize(
    ("gpus", "visible", "devices"),
    [
        ({"one": 1, "two": 1}, "3,5", {"one": ("3",), "two": ("5",)}),
        ({"one": 1, "two": 2}, "3,5,7", {"one": ("7",), "two": ("3", "5")}),
        ({"one": 0.5, "two": 0.7}, "GPU-a,GPU-b", {"one": ("GPU-b",), "two": ("GPU-a",)}),
        ({"one": 1, "two": 0}, "3", {"one": None, "two": None}),
        ({"one": 0.5, "two": 0.5}, "3", {"one": None, "two": None}),
        ({"one": 2}, "3,5", {"one": None}),
        ({"one": 1, "two": 1}, None, {"one": None, "two": None}),
        ({"one": 1, "two": 1}, "3", {"one": None, "two": None}),
    ],
)
def test_models_of_one_worker_have_its_devices_where_these_can_be_told_apart(gpus, visible, devices):
    placed = on_their_gpus(models_of(**gpus), visible)
    assert {name: spec.devices for name, spec in placed.items()} == devices


def test_engines_of_one_process_are_made_for_their_own_devices(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    engine = f"{__name__}:Noted"
    live_engines({name: ModelSpec(engine=engine, id=name, num_gpus=1) for name in ("one", "two")})
    assert Noted.devices == {"one": ("3",), "two": ("5",)}

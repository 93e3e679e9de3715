"""The driver's side of a stage without Ray: workers that stood by, and what becomes of them."""

from types import SimpleNamespace

import pyarrow as pa
import pytest

from drp_ray.errors import JobFailed
from drp_ray.running import crew as crew_module
from drp_ray.running import standby as standby_module
from drp_ray.running.crew import LOST, Crew
from drp_ray.running.dealing import MAX_LOST_WORKERS, PartToDo
from drp_ray.running.stage_info import PartStage, RunOptions, StageInfo
from drp_ray.running.standby import Held, Standby
from drp_ray.running.worker import Pool, Worker
from drp_ray.storage.local import LocalFolder

POOL = Pool(replicas=2 * MAX_LOST_WORKERS, num_gpus=1)


class Loads(Worker):
    schema, keys = pa.schema([("n", pa.int64())]), ("n",)

    def holds(self):
        return "a model"

    async def work(self, part, rows, earlier):
        return rows


class Ref:
    """What a call comes to: a value, an exception, or nothing yet."""

    def __init__(self, value=None, is_ready=True) -> None:
        self.value, self.is_ready = value, is_ready


class Called:
    def __init__(self, call) -> None:
        self.remote = call


class Actor:
    """A worker process that is there, or is lost already."""

    def __init__(self, world, is_lost=False) -> None:
        self.world, self.is_lost, self.freed, self.killed = world, is_lost, False, False
        self.serve, self.free = Called(self.do_serve), Called(self.do_free)

    def do_serve(self, assignment):
        if self.is_lost:
            return Ref(LOST[1]("gone"))
        self.world.serving.append(Ref(is_ready=False))
        return self.world.serving[-1]

    def do_free(self):
        self.freed = True
        return Ref()


class World:
    """Ray and the monitor, as far as a crew asks them. Parts end once a worker that is there serves."""

    def __init__(self, n_parts) -> None:
        self.serving, self.fresh, self.n_parts = [], [], n_parts
        self.monitor = SimpleNamespace(
            begin_deal=Called(lambda deal, parts: Ref()),
            outcomes=Called(lambda deal: self),
            lose=Called(lambda deal, worker, alive: Ref((False, ()))),
            begun=Called(lambda deal: Ref([])),
        )

    @property
    def is_ready(self):
        return bool(self.serving)

    @property
    def value(self):
        return [{"stage": "0"}] * self.n_parts

    def wait(self, refs, num_returns=1, timeout=None):
        ready = [ref for ref in refs if ref.is_ready]
        lost = [ref for ref in ready if isinstance(ref.value, Exception)]
        return (lost or ready)[:num_returns], []

    def get(self, ref):
        if isinstance(ref.value, Exception):
            raise ref.value
        return ref.value

    def kill(self, actor):
        actor.killed = True

    def nodes(self):
        return []

    def options(self, **resources):
        return self

    def remote(self):
        self.fresh.append(Actor(self))
        return self.fresh[-1]


@pytest.fixture
def world(monkeypatch):
    world = World(n_parts=POOL.replicas)
    monkeypatch.setattr(crew_module, "ray", world)
    monkeypatch.setattr(standby_module, "ray", world)
    monkeypatch.setattr(crew_module, "_PartActor", world)
    return world


def crew_of(world, tmp_path, waiting, n_parts=POOL.replicas, keep_workers=False):
    info = StageInfo("made", "f", {}, LocalFolder(tmp_path))
    stage = PartStage(info, info, Loads(), POOL)
    standby = Standby()
    standby.add(Held("a model", POOL), waiting, POOL.num_cpus)
    world.n_parts = n_parts
    options = RunOptions(5, None, False, world.monitor, standby, keep_workers)
    return Crew([stage], [PartToDo(f"0/part-{number}", 1) for number in range(n_parts)], options)


def test_workers_that_were_lost_while_they_stood_by_end_no_job(world, tmp_path):
    lost = [Actor(world, is_lost=True) for _ in range(MAX_LOST_WORKERS + 1)]
    crew = crew_of(world, tmp_path, lost)
    assert len(list(crew.outcomes())) == POOL.replicas
    assert all(actor.killed for actor in lost) and world.fresh


def test_fresh_workers_that_are_lost_at_their_start_end_the_job(world, tmp_path, monkeypatch):
    monkeypatch.setattr(world, "remote", lambda: Actor(world, is_lost=True))
    with pytest.raises(JobFailed, match=f"{MAX_LOST_WORKERS} worker processes in a row died before they had loaded"):
        list(crew_of(world, tmp_path, []).outcomes())


def test_workers_that_a_small_last_stage_has_no_use_for_free_their_models(world, tmp_path):
    waiting = [Actor(world) for _ in range(3)]
    crew = crew_of(world, tmp_path, waiting, n_parts=1)
    list(crew.outcomes())
    crew.end()
    assert [actor.freed for actor in waiting].count(True) == 2 and all(actor.killed for actor in waiting)


def test_a_worker_that_stood_by_and_has_not_asked_yet_is_waited_for_and_stands_by_again(world, tmp_path):
    waiting = [Actor(world)]
    crew = crew_of(world, tmp_path, waiting, n_parts=1, keep_workers=True)
    list(crew.outcomes())
    for serving in world.serving:
        serving.is_ready = True
    crew.end()
    assert not waiting[0].killed

"""The stage runner on a local Ray: resume, retry, order, checks and leases, with workers made for the purpose."""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pytest
import ray

from drp_ray.errors import BadInput, DatasetChanged, JobFailed, StageFailed
from drp_ray.running.crew import load_ahead
from drp_ray.running.monitor import start_monitor
from drp_ray.running.part_stage import Made, run_part_stages
from drp_ray.running.stage_info import PartStage, RunOptions, StageInfo
from drp_ray.running.stage_run import _confirm
from drp_ray.running.survey import is_current, survey
from drp_ray.running.worker import Pool, Worker
from drp_ray.storage.folder import Folder, LocalFolder, StorageUnreachable
from drp_ray.storage.lease import LeaseHeld, lease
from drp_ray.storage.parts import Manifest, add_up, commit_part, part_name, read_manifest, read_part, write_manifest

# Ray's workers cannot import a test module: its classes travel by value.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

NUMBERS = pa.schema([("n", pa.int64())])
SQUARES = pa.schema([("n", pa.int64()), ("square", pa.int64()), ("status", pa.string()), ("attempts", pa.int64())])


@dataclass
class Square(Worker):
    """Squares numbers; leaves a trace of every part it worked on, and fails where told to."""

    trace: Path
    errors: tuple[int, ...] = ()
    breaks: tuple[int, ...] = ()
    loses: tuple[int, ...] = ()
    found: tuple[int, ...] = ()
    dies: bool = False
    schema: pa.Schema = field(default=SQUARES, init=False)
    keys: tuple[str, ...] = field(default=("n",), init=False)
    carried: tuple[str, ...] = field(default=("found",), init=False)

    async def start(self, count):
        if self.dies:
            os.kill(os.getpid(), signal.SIGKILL)

    async def work(self, part, rows, earlier):
        with (self.trace / part).open("a") as file:
            file.write("worked\n")
        numbers = [n for n in rows["n"].to_pylist() if n not in self.loses]
        if set(numbers) & set(self.breaks):
            raise RuntimeError("told to break")
        kept = {row["n"]: row for row in earlier.to_pylist() if row["status"] == "ok"} if earlier is not None else {}
        self._new = set(numbers) - set(kept)
        done = [kept.get(n) or {"n": n, "square": n * n, **self._status(n)} for n in numbers]
        return pa.Table.from_pylist(done, SQUARES)

    def _status(self, n):
        return {"status": "error" if n in self.errors else "ok", "attempts": 1}

    def facts(self, rows):
        found = len(self._new & set(self.found))
        return {"errors": rows["status"].to_pylist().count("error"), **({"found": found} if found else {})}


def run_all(stages: Sequence[PartStage], options: RunOptions) -> list[Made]:
    """What became of the stages, in their order."""
    made = dict(run_part_stages(stages, options))
    return [made[number] for number in range(len(stages))]


def run_part_stage(stage: PartStage, options: RunOptions) -> Manifest:
    [made] = run_all([stage], options)
    if isinstance(made, StageFailed):
        raise made
    return made


def make_source(folder: Folder, parts: list[list[int]]) -> StageInfo:
    done = {}
    for index, numbers in enumerate(parts):
        rows = pa.table({"n": numbers}, schema=NUMBERS)
        done[part_name(index)] = commit_part(folder, part_name(index), rows, {}, "")
    entries = [part.entry for part in done.values()]
    totals = add_up(entry.facts for entry in entries)
    manifest = Manifest(stage="numbers", fingerprint="f", made_from={}, inputs={}, parts=entries, totals=totals)
    write_manifest(folder, manifest)
    return StageInfo("numbers", "f", {}, folder)


class Bench:
    """A source and a stage over it in a temporary folder."""

    def __init__(self, tmp_path: Path, parts: list[list[int]]) -> None:
        self.source_folder = LocalFolder(tmp_path / "numbers")
        self.folder = LocalFolder(tmp_path / "squares")
        self.trace = tmp_path / "trace"
        self.trace.mkdir()
        self.source = make_source(self.source_folder, parts)

    def stage(self, pool: Pool | None = None, **worker) -> PartStage:
        info = StageInfo("squares", "g", {"stage": "squares"}, self.folder)
        return PartStage(info, self.source, Square(self.trace, **worker), pool)

    def worked(self) -> dict[str, int]:
        return {path.name: len(path.read_text().splitlines()) for path in sorted(self.trace.iterdir())}

    def squares(self) -> dict[int, dict]:
        manifest = read_manifest(self.folder)
        rows = [row for part in manifest.parts for row in read_part(self.folder, part.name).rows.to_pylist()]
        assert len({row["n"] for row in rows}) == len(rows)
        return {row["n"]: row for row in rows}

    def bytes(self) -> dict[str, bytes]:
        names = [entry.name for entry in self.folder.entries() if entry.name.endswith(".parquet")]
        return {name: self.folder.read(name) for name in names}


@pytest.fixture
def options(ray_here):
    return RunOptions(heartbeat_s=5, lease_ttl_s=10, retry_errors=False, monitor=start_monitor())


@pytest.fixture
def retrying(ray_here):
    return RunOptions(heartbeat_s=5, lease_ttl_s=10, retry_errors=True, monitor=start_monitor())


@pytest.mark.parametrize("pool", [None, Pool(replicas=1, num_gpus=0, parts_in_flight=3)])
def test_every_part_is_made_once_and_a_second_run_does_nothing(tmp_path, options, pool):
    bench = Bench(tmp_path, [[1, 2], [3], [4, 5, 6]])
    first = run_part_stage(bench.stage(pool), options)
    assert first.is_done and first.totals["rows"] == 6
    assert {n: row["square"] for n, row in bench.squares().items()} == {n: n * n for n in range(1, 7)}
    before = bench.bytes()
    assert run_part_stage(bench.stage(pool), options) == first
    assert bench.bytes() == before
    assert set(bench.worked().values()) == {1}


def test_a_failed_job_keeps_what_was_committed_and_the_next_makes_only_the_rest(tmp_path, options):
    bench = Bench(tmp_path, [[1, 2, 3], [4, 5], [6]])
    with pytest.raises(Exception, match="told to break"):
        run_part_stage(bench.stage(Pool(1, 0, parts_in_flight=1), breaks=(6,)), options)
    manifest = read_manifest(bench.folder)
    assert not manifest.is_done
    before = bench.bytes()
    assert set(before) == {part_name(0), part_name(1)}
    run_part_stage(bench.stage(), options)
    assert {name: data for name, data in bench.bytes().items() if name in before} == before
    assert bench.worked()[part_name(0)] == bench.worked()[part_name(1)] == 1
    assert sorted(bench.squares()) == [1, 2, 3, 4, 5, 6]


def test_what_ended_a_stage_is_told_and_not_what_its_clean_up_met(tmp_path, options, monkeypatch):
    bench, writes = Bench(tmp_path, [[1]]), iter([write_manifest])

    def once_then_away(folder, manifest):
        write = next(writes, None)
        if write is None:
            raise StorageUnreachable("the bucket is away")
        write(folder, manifest)

    monkeypatch.setattr("drp_ray.running.stage_run.write_manifest", once_then_away)
    with pytest.raises(Exception, match="told to break"):
        run_part_stage(bench.stage(breaks=(1,)), options)


def test_what_was_made_of_something_that_changed_meanwhile_goes_and_earlier_parts_stay(tmp_path, options):
    def changed():
        raise DatasetChanged("the dataset was changed")

    bench = Bench(tmp_path, [[1, 2, 3], [4, 5], [6]])
    with pytest.raises(Exception, match="told to break"):
        run_part_stage(bench.stage(Pool(1, 0, parts_in_flight=1), breaks=(6,)), options)
    before = bench.bytes()
    with pytest.raises(JobFailed, match="dataset was changed"):
        run_part_stage(replace(bench.stage(), confirm=changed), options)
    assert bench.bytes() == before and not read_manifest(bench.folder).is_done


def raising(error):
    def raise_it():
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (StorageUnreachable("the bucket is away"), True),
        (JobFailed("something else"), True),
        (BadInput("the right to read was taken away"), True),
        (DatasetChanged("the dataset was changed"), False),
    ],
)
def test_parts_go_only_where_the_dataset_is_known_to_have_changed(tmp_path, error, stays):
    bench = Bench(tmp_path, [[1]])
    commit_part(bench.folder, part_name(0), pa.table({"n": [1]}), {}, "")
    with pytest.raises(type(error), match=str(error)):
        _confirm(replace(bench.stage(), confirm=raising(error)), made={part_name(0)})
    assert (part_name(0) in bench.bytes()) == stays


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StorageUnreachable("away"), DatasetChanged("it was changed")])
def test_a_stage_that_was_not_confirmed_is_not_done_though_all_its_parts_are_there(tmp_path, monkeypatch, error):
    def commit_all(runs, options):
        [run] = runs
        for to_do in run.parts_to_do(0):
            part = read_part(run.stage.source.folder, to_do.part)
            [number] = part.rows["n"].to_pylist()
            rows = pa.table({"n": [number], "square": [number * number]})
            run.note(commit_part(run.stage.info.folder, to_do.part, rows, {"errors": 0}, part.digest))
            yield 0, None

    monkeypatch.setattr("drp_ray.running.part_stage._run_parts", commit_all)
    bench = Bench(tmp_path, [[1], [2]])
    without_lease = RunOptions(heartbeat_s=5, lease_ttl_s=None, retry_errors=False, monitor=None)
    with pytest.raises(type(error)):
        run_part_stage(replace(bench.stage(), confirm=raising(error)), without_lease)
    manifest = read_manifest(bench.folder)
    assert not manifest.is_done and not is_current(manifest, {"numbers": read_manifest(bench.source_folder)})
    assert run_part_stage(bench.stage(), without_lease).is_done


def test_workers_that_die_before_they_can_work_end_the_job_with_a_line(tmp_path, options):
    with pytest.raises(
        JobFailed, match="squares: 5 worker processes in a row died before they had loaded what they need"
    ):
        run_part_stage(Bench(tmp_path, [[1], [2]]).stage(dies=True), options)


def test_a_part_that_lost_a_row_is_not_committed(tmp_path, options):
    bench = Bench(tmp_path, [[1, 2]])
    with pytest.raises(Exception, match="missing, repeated or not asked for"):
        run_part_stage(bench.stage(loses=(2,)), options)
    assert bench.bytes() == {}


def test_retrying_errors_touches_only_parts_with_errors(tmp_path, options, retrying):
    bench = Bench(tmp_path, [[1, 2], [3, 4]])
    run_part_stage(bench.stage(errors=(3,)), options)
    before = bench.bytes()
    assert run_part_stage(bench.stage(), options).totals["errors"] == 1
    assert bench.bytes() == before
    assert run_part_stage(bench.stage(), retrying).totals["errors"] == 0
    assert bench.bytes()[part_name(0)] == before[part_name(0)]
    assert bench.worked() == {part_name(0): 1, part_name(1): 2}


def test_what_is_known_of_rows_that_stay_is_still_known_once_errors_were_retried(tmp_path, options, retrying):
    bench = Bench(tmp_path, [[1, 2, 3], [4, 5]])
    first = run_part_stage(bench.stage(errors=(3,), found=(1, 2, 4)), options)
    again = run_part_stage(bench.stage(found=(3,)), retrying)
    assert (first.totals["found"], again.totals["found"], again.totals["errors"]) == (3, 4, 0)


def test_a_part_whose_input_was_replaced_is_made_again(tmp_path, options):
    bench = Bench(tmp_path, [[1, 2], [3, 4]])
    run_part_stage(bench.stage(), options)
    bench.source = make_source(bench.source_folder, [[1, 2], [7, 8]])
    run_part_stage(bench.stage(), options)
    assert sorted(bench.squares()) == [1, 2, 7, 8]
    assert bench.worked() == {part_name(0): 1, part_name(1): 2}


def test_a_stage_of_no_parts_is_done(tmp_path, options):
    bench = Bench(tmp_path, [])
    assert run_part_stage(bench.stage(), options).totals == {"rows": 0}


def test_an_input_that_is_not_complete_is_refused(tmp_path, options):
    bench = Bench(tmp_path, [[1]])
    manifest = read_manifest(bench.source_folder)
    write_manifest(bench.source_folder, manifest.model_copy(update={"totals": None}))
    with pytest.raises(JobFailed, match="is not complete"):
        run_part_stage(bench.stage(), options)


def cut_in_half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def without_its_rows(data: bytes) -> bytes:
    """The footer is whole, what it describes is not."""
    return b"PAR1" + bytes(len(data) // 3) + data[len(data) // 3 + 4 :]


@pytest.mark.parametrize("harm", [None, cut_in_half, lambda data: b""])
def test_a_damaged_part_of_a_finished_stage_is_made_again_and_no_other(tmp_path, options, harm):
    bench = Bench(tmp_path, [[1, 2], [3], [4, 5]])
    run_part_stage(bench.stage(), options)
    before, part = bench.bytes(), bench.folder.path / part_name(1)
    part.unlink() if harm is None else part.write_bytes(harm(part.read_bytes()))
    assert run_part_stage(bench.stage(), options).is_done
    assert bench.worked() == {part_name(0): 1, part_name(1): 2, part_name(2): 1}
    assert {name: data for name, data in bench.bytes().items() if name != part_name(1)} == {
        name: data for name, data in before.items() if name != part_name(1)
    }
    assert sorted(bench.squares()) == [1, 2, 3, 4, 5]


def test_a_part_whose_footer_is_whole_but_not_its_size_is_made_again(tmp_path, options):
    bench = Bench(tmp_path, [[1, 2], [3]])
    run_part_stage(bench.stage(), options)
    part = bench.folder.path / part_name(0)
    data = part.read_bytes()
    part.write_bytes(data[:20] + data[30:])
    run_part_stage(bench.stage(), options)
    assert bench.worked() == {part_name(0): 2, part_name(1): 1}


def test_a_damaged_output_part_of_an_unfinished_stage_counts_as_absent(tmp_path, options):
    bench = Bench(tmp_path, [[1, 2, 3], [4, 5], [6]])
    with pytest.raises(Exception, match="told to break"):
        run_part_stage(bench.stage(Pool(1, 0, parts_in_flight=1), breaks=(6,)), options)
    part = bench.folder.path / part_name(0)
    part.write_bytes(cut_in_half(part.read_bytes()))
    run_part_stage(bench.stage(), options)
    assert sorted(bench.squares()) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("harm", [without_its_rows, lambda data: data[:-8] + bytes(8)])
def test_a_damaged_input_part_is_named_with_what_to_do(tmp_path, options, harm):
    bench = Bench(tmp_path, [[1, 2], [3, 4]])
    part = bench.source_folder.path / part_name(1)
    part.write_bytes(harm(part.read_bytes()))
    with pytest.raises(JobFailed, match=rf"numbers/{part_name(1)} is damaged .*: delete it"):
        run_part_stage(bench.stage(), options)


def test_a_damaged_earlier_part_is_no_obstacle_to_retrying_errors(tmp_path, options, retrying):
    bench = Bench(tmp_path, [[1, 2]])
    run_part_stage(bench.stage(errors=(1,)), options)
    part = bench.folder.path / part_name(0)
    part.write_bytes(without_its_rows(part.read_bytes()))
    assert run_part_stage(bench.stage(), retrying).totals["errors"] == 0
    assert sorted(bench.squares()) == [1, 2]


def test_a_second_job_on_the_folder_stops(tmp_path, options):
    bench = Bench(tmp_path, [[1]])
    with lease(bench.folder, 3), pytest.raises(LeaseHeld, match="another job"):
        run_part_stage(bench.stage(), options)
    assert bench.bytes() == {}


@dataclass
class Sharing(Square):
    """Squares numbers with something that takes long to load, and leaves a trace of every time that it is loaded."""

    loads: Path = Path()
    what: str = "the same"
    cannot_load: bool = False
    _it: str | None = field(default=None, init=False)

    def holds(self):
        return self.what

    def share(self, loaded):
        self._it = loaded

    def loaded(self):
        return self._it

    async def load(self):
        if self.cannot_load:
            raise BadInput("there is no such model")
        self._it = self.what
        self._trace("loaded")

    async def start(self, count):
        if self._it is None:
            await self.load()

    async def close(self):
        self._trace("freed")

    def _trace(self, event):
        with (self.loads / event).open("a") as file:
            file.write(f"{self.what}\n")


def sharing(tmp_path: Path, name: str, parts: list[list[int]], **worker) -> tuple[Bench, PartStage]:
    (tmp_path / name).mkdir()
    (tmp_path / "loads").mkdir(exist_ok=True)
    bench = Bench(tmp_path / name, parts)
    info = StageInfo(name, name, {"stage": name}, bench.folder)
    work = Sharing(bench.trace, loads=tmp_path / "loads", **worker)
    return bench, PartStage(info, bench.source, work, Pool(1, 0, parts_in_flight=2))


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def events(tmp_path: Path) -> dict[str, list[str]]:
    return {path.name: path.read_text().split("\n")[:-1] for path in sorted((tmp_path / "loads").iterdir())}


def test_stages_that_load_the_same_are_one_stream_with_what_one_worker_loaded(tmp_path, options):
    one, first = sharing(tmp_path, "one", [[1, 2], [3]])
    other, second = sharing(tmp_path, "other", [[4], [5], [6]])
    began = time.monotonic()
    manifests = run_all([first, second], options)
    assert [manifest.stage for manifest in manifests] == ["one", "other"] and all(m.is_done for m in manifests)
    assert (sorted(one.squares()), sorted(other.squares())) == ([1, 2, 3], [4, 5, 6])
    assert set(one.worked().values()) == set(other.worked().values()) == {1}
    assert events(tmp_path) == {"loaded": ["the same"], "freed": ["the same"]}
    assert sum(manifest.wall_s for manifest in manifests) <= time.monotonic() - began, "time counts once"
    alone, third = sharing(tmp_path, "alone", [[4], [5], [6]])
    run_part_stage(third, options)
    assert alone.squares() == other.squares()


def test_a_failure_in_one_stage_keeps_what_every_stage_has_and_finishes_those_that_are_complete(tmp_path, options):
    one, first = sharing(tmp_path, "one", [[1, 2, 3]])
    other, second = sharing(tmp_path, "other", [[4], [5]], breaks=(5,))
    with pytest.raises(Exception, match="told to break"):
        run_all([first, second], options)
    assert read_manifest(one.folder).is_done and not read_manifest(other.folder).is_done
    _, mended = other, replace(second, worker=replace(second.worker, breaks=()))
    assert all(manifest.is_done for manifest in run_all([first, mended], options))
    assert one.worked() == {part_name(0): 1} and sorted(other.squares()) == [4, 5]


def test_a_stage_that_fails_is_withdrawn_and_those_that_share_its_workers_go_on(tmp_path, options):
    one, first = sharing(tmp_path, "one", [[1], [2], [3]], what="it")
    bad, second = sharing(tmp_path, "bad", [[n] for n in range(10, 40)], what="it", loses=(10,))
    _, slow = sharing(tmp_path, "slow", [[n] for n in range(40, 60)], what="it")
    with lease(LocalFolder(tmp_path / "held"), 30.0):
        held = replace(first, info=replace(first.info, folder=LocalFolder(tmp_path / "held")))
        told = dict(run_part_stages([second, first, held, slow], options))
    failed, made, was_held = (told[number] for number in range(3))
    assert list(told).index(0) < list(told).index(3), "a failure is told as it happens"
    assert isinstance(failed, StageFailed) and "missing" in str(failed)
    assert isinstance(was_held, LeaseHeld)
    assert made.is_done and sorted(one.squares()) == [1, 2, 3]
    assert not read_manifest(bad.folder).is_done and len(bad.worked()) < 30
    mended = replace(second, worker=replace(second.worker, loses=()))
    assert run_part_stage(mended, options).is_done
    assert sorted(bad.squares()) == list(range(10, 40))


@pytest.fixture
def keeping(options):
    """Options with which workers stand by; none does when the test is over, however it ends."""
    yield replace(options, keep_workers=True)
    options.standby.kill()


def test_workers_stand_by_for_a_stage_that_needs_the_same_and_are_dismissed_by_another(tmp_path, keeping):
    for name, what in (("one", "the same"), ("two", "the same"), ("three", "something else")):
        run_part_stage(sharing(tmp_path, name, [[1], [2]], what=what)[1], keeping)
    assert events(tmp_path) == {"loaded": ["the same", "something else"], "freed": ["the same"]}
    keeping.standby.dismiss()
    assert events(tmp_path)["freed"] == ["the same", "something else"]


def test_what_was_loaded_ahead_is_used_and_leaves_all_cpus_to_the_work_before(tmp_path, options):
    bench, stage = sharing(tmp_path, "one", [[1], [2]])
    every_cpu = int(ray.cluster_resources()["CPU"])
    load_ahead(stage, 3, options.standby)
    until(lambda: events(tmp_path) == {"loaded": ["the same"]})
    assert ray.get(ray.remote(num_cpus=every_cpu)(lambda: "done").remote()) == "done"
    run_part_stage(stage, options)
    assert sorted(bench.squares()) == [1, 2] and options.standby.is_empty
    assert events(tmp_path) == {"loaded": ["the same"], "freed": ["the same"]}


def test_what_was_loaded_ahead_for_another_stage_is_freed(tmp_path, options):
    load_ahead(sharing(tmp_path, "one", [[1]], what="something else")[1], 1, options.standby)
    until(lambda: events(tmp_path) == {"loaded": ["something else"]})
    run_part_stage(sharing(tmp_path, "two", [[1]])[1], options)
    assert sorted(events(tmp_path)["freed"]) == ["something else", "the same"]


def test_what_cannot_be_loaded_ahead_is_told_when_its_stage_begins(tmp_path, options):
    _, stage = sharing(tmp_path, "one", [[1]], cannot_load=True)
    load_ahead(stage, 1, options.standby)
    with pytest.raises(BadInput, match="there is no such model"):
        run_part_stage(stage, options)


def test_a_model_that_cannot_be_loaded_ends_all_also_where_the_first_stage_has_nothing_left(tmp_path, options):
    one, first = sharing(tmp_path, "one", [[1]])
    run_part_stage(first, options)
    write_manifest(one.folder, read_manifest(one.folder).model_copy(update={"totals": None}))
    _, second = sharing(tmp_path, "other", [[2]], cannot_load=True)
    first = replace(first, worker=replace(first.worker, cannot_load=True))
    with pytest.raises(BadInput, match="there is no such model"):
        run_all([first, second], options)


def test_no_more_workers_load_ahead_than_have_a_cpu(tmp_path, options):
    _, stage = sharing(tmp_path, "one", [[n] for n in range(20)])
    every_cpu = int(ray.cluster_resources()["CPU"])
    stage = replace(stage, pool=Pool(every_cpu + 5, 0))
    load_ahead(stage, 20, options.standby)
    waiting = options.standby.take(stage.held)
    for actor in waiting:
        ray.kill(actor)
    assert len(waiting) == every_cpu


def test_more_than_a_quarter_of_the_cpus_is_not_taken_ahead(tmp_path, options):
    _, stage = sharing(tmp_path, "one", [[1]])
    load_ahead(replace(stage, pool=Pool(1, 0, num_cpus=ray.cluster_resources()["CPU"])), 1, options.standby)
    assert options.standby.is_empty


def test_work_without_a_model_has_a_cpu_while_workers_stand_by(tmp_path, options, keeping):
    _, stage = sharing(tmp_path, "one", [[1]])
    every_cpu = replace(stage, pool=Pool(1, 0, num_cpus=int(ray.cluster_resources()["CPU"])))
    run_part_stage(every_cpu, keeping)
    (tmp_path / "plain").mkdir()
    plain = Bench(tmp_path / "plain", [[2]])
    run_part_stage(plain.stage(), options)
    assert plain.squares() and events(tmp_path)["freed"] == ["the same"]


def test_large_parts_come_first(tmp_path):
    bench = Bench(tmp_path, [[1], [2, 3, 4], [5, 6]])
    found = survey(read_manifest(bench.source_folder), {}, "rows", retry_errors=False)
    assert [entry.rows for entry in found.pending] == [3, 2, 1]

"""What is damaged is found, named, and made again: files that are gone, cut short, replaced, or hold other bytes."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drp_ray.cli import app
from drp_ray.data.sample_files import write_sample
from drp_ray.job.opened_job import OpenedJob
from drp_ray.job.status import status_of
from drp_ray.job.verify import verify
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.lease import lease
from drp_ray.storage.parts import commit_part, is_sound, part_name, read_whole_manifest, write_manifest
from tests.job.made_runs import finish, jobs_of, predictions, write_job

TEXTS = [{f"user-{number}": f"text {number}" for number in range(first, first + 4)} for first in (0, 4, 8)]


@pytest.fixture
def job_file(tmp_path) -> Path:
    write_sample(LocalFolder(tmp_path / "data"), 12, seed=1)
    return write_job(tmp_path, tmp_path / "data")


@pytest.fixture
def job(job_file) -> OpenedJob:
    [job] = jobs_of(job_file)
    finish(job, [predictions(texts) for texts in TEXTS])
    return job


def part_of(job: OpenedJob, stage: str, number: int = 1) -> Path:
    return Path(job.plan.stages[stage].folder.uri) / part_name(number)


def delete(part: Path) -> None:
    part.unlink()


def truncate(part: Path) -> None:
    os.truncate(part, part.stat().st_size // 2)


def empty(part: Path) -> None:
    os.truncate(part, 0)


def cut_from_the_middle(part: Path) -> None:
    data = part.read_bytes()
    part.write_bytes(data[:100] + data[400:])


def flip_a_byte_of_a_row(part: Path) -> None:
    data = bytearray(part.read_bytes())
    data[60] ^= 1
    part.write_bytes(data)


def overwrite_the_footer(part: Path) -> None:
    data = part.read_bytes()
    part.write_bytes(data[:-8] + b"\0" * 8)


SEEN_BY_A_LISTING = [delete, truncate, empty, cut_from_the_middle]
HIDDEN = [flip_a_byte_of_a_row, overwrite_the_footer]


def test_what_a_job_has_made_is_whole(job):
    assert verify(job, deep=True) == []
    assert {line.state for line in status_of(job) if line.stage in ("predictions", "scores")} == {"done"}


@pytest.mark.parametrize("harm", SEEN_BY_A_LISTING)
def test_a_finished_stage_is_not_finished_once_a_listing_shows_damage(job, harm):
    harm(part_of(job, "predictions"))
    assert job.current_manifests(["predictions"]) is None
    manifest = read_whole_manifest(job.plan.stages["predictions"].folder)
    assert list(manifest.damage) == [part_name(1)] and not manifest.is_done
    assert next(line.state for line in status_of(job) if line.stage == "predictions") == "damaged"
    [damage] = verify(job)
    assert str(part_of(job, "predictions")) in str(damage)


@pytest.mark.parametrize("harm", HIDDEN)
def test_what_no_listing_shows_is_found_by_reading_and_set_aside(job, harm):
    part = part_of(job, "predictions")
    harm(part)
    assert job.current_manifests(["predictions"]) is not None
    [damage] = verify(job, deep=True)
    assert (damage.folder, damage.name) == (job.plan.stages["predictions"].folder, part.name)
    assert job.current_manifests(["predictions"]) is None, "the next run would not make it again"
    assert part.with_name(f"{part.name}.damaged").exists()


def test_a_part_of_the_right_size_with_other_rows_is_found_without_reading_rows(job):
    folder = job.plan.stages["predictions"].folder
    manifest = read_whole_manifest(folder)
    other = commit_part(folder, part_name(1), predictions(TEXTS[0]), {}, "")
    parts = [part.model_copy(update={"size": other.size}) for part in manifest.parts[1:2]]
    write_manifest(folder, manifest.model_copy(update={"parts": [manifest.parts[0], *parts, manifest.parts[2]]}))
    assert "other rows" in verify(job)[0].wrong


def test_nothing_is_set_aside_while_a_job_works_on_the_stage(job):
    part = part_of(job, "predictions")
    flip_a_byte_of_a_row(part)
    with lease(job.plan.stages["predictions"].folder, 3):
        [damage] = verify(job, deep=True)
    assert "could not be set aside" in damage.wrong and "another job" in damage.wrong
    assert part.exists()


def test_every_changed_byte_of_a_finished_part_is_found(job):
    part = part_of(job, "scores", 0)
    whole = part.read_bytes()
    for place in range(0, len(whole), 97):
        data = bytearray(whole)
        data[place] ^= 0x40
        part.write_bytes(data)
        assert [damage.name for damage in verify(job, deep=True)] == [part.name], place
        part.with_name(f"{part.name}.damaged").unlink()
    part.write_bytes(whole)
    assert verify(job, deep=True) == []


def test_a_part_of_before_digests_of_files_is_whole_where_it_can_be_read(job):
    folder = job.plan.stages["predictions"].folder
    manifest = read_whole_manifest(folder)
    bare = [part.model_copy(update={"size": None, "file_digest": None}) for part in manifest.parts]
    write_manifest(folder, manifest.model_copy(update={"parts": bare}))
    assert verify(job, deep=True) == []
    assert is_sound(folder, part_name(0))
    truncate(part_of(job, "predictions"))
    assert "no footer" in verify(job)[0].wrong


def test_the_command_names_the_file_and_ends_with_1(job, job_file):
    run = CliRunner()
    whole = run.invoke(app, ["verify", str(job_file), "--deep"])
    assert whole.exit_code == 0 and "is whole" in whole.stdout
    part = part_of(job, "scores")
    part.unlink()
    damaged = run.invoke(app, ["verify", str(job_file)])
    assert damaged.exit_code == 1
    assert f"{part} is not there" in damaged.stdout


def test_what_no_run_makes_again_by_itself_is_left_to_the_reader(job, job_file):
    def last_line():
        return CliRunner().invoke(app, ["verify", str(job_file)]).stdout.splitlines()[-1]

    folder = job.plan.stages["predictions"].folder
    part_of(job, "scores").unlink()
    job.run_folder.write("metrics.json", b"{")
    assert last_line() == "2 damaged files: the command that made the run makes them again"
    folder.write("manifest.json", b"{")
    assert last_line() == (
        "3 damaged files: do what is said of 1 of them, and the command that made the run makes all of them again"
    )
    job.run_folder.write("run.json", b"")
    told = {damage.name: str(damage) for damage in verify(job) if not damage.is_made_again}
    assert told.keys() == {"run.json", "manifest.json"} and all("delete it" in line for line in told.values())


def test_a_part_that_could_not_be_set_aside_is_left_to_the_reader(job):
    flip_a_byte_of_a_row(part_of(job, "predictions"))
    with lease(job.plan.stages["predictions"].folder, 3):
        [damage] = verify(job, deep=True)
    assert not damage.is_made_again and "or deleted" in damage.wrong
    [damage] = verify(job, deep=True)
    assert damage.is_made_again


def test_damaged_records_of_a_run_are_named(job):
    job.run_folder.write("run.json", b"")
    job.run_folder.write("metrics.json", b"{")
    assert [damage.name for damage in verify(job)] == ["run.json", "metrics.json"]

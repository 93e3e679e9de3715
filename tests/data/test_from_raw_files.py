"""Raw files become the dataset that the rules describe, whatever the files look like and whenever it is cut short."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp_ray.data.from_raw_files import build_from_raw_files
from drp_ray.data.rules import Rules
from drp_ray.errors import BadInput
from drp_ray.inputs.dataset import UNFINISHED, Dataset
from drp_ray.inputs.dataset_check import check_dataset
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.lease import LEASE
from tests.data.raw import (
    DESCRIPTION,
    LOOSE,
    build_here,
    built,
    contents,
    item,
    job,
    plain_build,
    read_items,
    read_split,
    review,
    small_world,
    write_lines,
)

TEXTS = ["a good one ", "not for me\t\n", "what  can I say "]


def drawn_world(seed: int, size: int) -> tuple[list[dict], list[dict]]:
    """Raw rows of five users and seven items: ties in time, repeated texts, gaps, and items with two entries."""
    draw = random.Random(seed)
    reviews = [
        review(
            f"u{draw.randrange(5)}",
            f"i{draw.randrange(8)}",
            draw.randrange(6),
            draw.choice(TEXTS) * draw.randrange(1, 30) + "end",
            title=draw.choice(["a title", "a  title", "another", ""]),
            rating=draw.choice([1.0, 5.0, 4.0, 3.0, None]),
        )
        for _ in range(size)
    ]
    meta = [
        item(
            f"i{draw.randrange(7)}",
            title=draw.choice(["name", "name", "name", ""]),
            description=draw.choice([[DESCRIPTION], [DESCRIPTION, "and more"], [], ["short"], [DESCRIPTION * 20]]),
        )
        for _ in range(3)
    ]
    return reviews, meta + [item(f"i{number}") for number in range(7)]


all_rules = st.builds(
    Rules,
    min_review_chars=st.sampled_from([0, 30, 100]),
    min_description_chars=st.sampled_from([0, 0, 100]),
    min_item_reviewers=st.integers(0, 3),
    min_user_reviews=st.integers(0, 4),
    max_user_reviews=st.integers(4, 7),
    holdout=st.integers(1, 4),
    min_profile_item_reviewers=st.integers(0, 2),
    min_profile_reviews=st.integers(0, 2),
)


@settings(max_examples=60)
@given(
    st.builds(drawn_world, st.integers(0, 10**6), st.integers(0, 150)),
    all_rules,
    st.integers(150, 3000),
    st.integers(1, 9),
    st.booleans(),
    st.integers(0, 90),
)
def test_users_items_and_splits_are_those_of_a_plain_implementation(
    tmp_path_factory, world_drawn, rules, chunk_bytes, per_part, zipped, cut
):
    folder = tmp_path_factory.mktemp("world")
    suffix = ".jsonl.gz" if zipped else ".jsonl"
    reviews, meta = world_drawn
    files = [
        write_lines(folder / f"{name}{suffix}", rows) for name, rows in (("a", reviews[:cut]), ("b", reviews[cut:]))
    ]
    described = write_lines(folder / f"meta{suffix}", meta)
    expected = plain_build(reviews, meta, rules)
    wanted = job(files, [described], folder / "out", rules, chunk_bytes=chunk_bytes, reviews_per_part=per_part)
    if not expected["splits"]["test"]:
        with pytest.raises(BadInput, match="nothing is left after the rule"):
            build_here(wanted)
        return
    build_here(wanted)
    assert built(folder / "out") == expected
    for split in ("val", "test"):
        if expected["splits"][split]:
            check_dataset(Dataset.open(LocalFolder(folder / "out" / split), LocalFolder(folder / "out")))


@pytest.fixture
def world(tmp_path):
    reviews, meta = small_world(12, 12, 8)
    return write_lines(tmp_path / "in" / "reviews.jsonl", reviews), write_lines(tmp_path / "in" / "meta.jsonl", meta)


def test_a_user_has_eight_inputs_for_training_one_for_validation_and_the_newest_for_the_test(tmp_path):
    reviews, meta = small_world(20, 20, 20)
    files = write_lines(tmp_path / "r.jsonl", reviews), write_lines(tmp_path / "m.jsonl", meta)
    build_here(job([files[0]], [files[1]], tmp_path / "out", Rules()))
    for split, sizes in (("train", list(range(10, 18))), ("val", [18]), ("test", [19])):
        rows = [row for row in read_split(tmp_path / "out", split) if row["user_id"] == "u3"]
        assert [len(row["profile"]) for row in rows] == sizes
        for row in rows:
            times = [review["timestamp"] for review in (*row["profile"], row["target"])]
            assert times == sorted(times)


def test_a_holdout_of_two_is_one_for_validation_and_one_for_the_test(tmp_path, world):
    build_here(job([world[0]], [world[1]], tmp_path / "out", LOOSE.model_copy(update={"holdout": 2})))
    assert not (tmp_path / "out" / "train").exists()
    assert [len(read_split(tmp_path / "out", split)) for split in ("val", "test")] == [12, 12]


def test_the_files_do_not_depend_on_how_the_input_is_read(tmp_path, world):
    reviews, meta = world
    build_here(job([reviews], [meta], tmp_path / "whole", LOOSE))
    build_here(job([reviews], [meta], tmp_path / "pieces", LOOSE, chunk_bytes=500, memory_gb=0.2))
    assert contents(tmp_path / "whole") == contents(tmp_path / "pieces")


def test_on_ray_and_in_this_process_the_same_files_are_made(tmp_path, world, ray_here):
    reviews, meta = world
    build_here(job([reviews], [meta], tmp_path / "here", LOOSE, chunk_bytes=2000, reviews_per_part=9))
    build_from_raw_files(job([reviews], [meta], tmp_path / "ray", LOOSE, chunk_bytes=2000, reviews_per_part=9), print)
    assert contents(tmp_path / "here") == contents(tmp_path / "ray")
    assert len(list((tmp_path / "ray" / "test" / "users").iterdir())) > 3


class CutShort(Exception):
    """The power went."""


class FailingFolder(LocalFolder):
    """A folder in which a countdown of writes ends in a crash, before or after the last of them."""

    countdown = 0
    after = False

    def at(self, *names):
        return FailingFolder(self.path.joinpath(*names))

    def write(self, name, data):
        if name == LEASE:  # a process that is gone holds no lease, but this one lives on
            super().write(name, data)
            return
        FailingFolder.countdown -= 1
        if FailingFolder.countdown == 0 and not FailingFolder.after:
            raise CutShort
        super().write(name, data)
        if FailingFolder.countdown == 0:
            raise CutShort

    def delete(self, name):
        FailingFolder.countdown -= name != LEASE
        if FailingFolder.countdown == 0 and name != LEASE:
            raise CutShort
        super().delete(name)


def test_wherever_it_is_cut_short_it_does_not_look_whole_and_ends_as_if_it_had_not_been(tmp_path, world):
    reviews, meta = world
    arrangement = {"chunk_bytes": 2000, "reviews_per_part": 9}
    build_here(job([reviews], [meta], tmp_path / "undisturbed", LOOSE, **arrangement))
    expected = contents(tmp_path / "undisturbed")
    cuts, draw = 0, random.Random(7)
    for begin in range(1, 120, 30):
        out = tmp_path / f"cut{begin}"
        FailingFolder.countdown, FailingFolder.after = begin, draw.random() < 0.5
        while True:
            try:
                build_here(job([reviews], [meta], FailingFolder(out), LOOSE, **arrangement))
                break
            except CutShort:
                cuts += 1
                if (out / UNFINISHED).exists():
                    with pytest.raises(BadInput, match="not finished"):
                        Dataset.open(LocalFolder(out / "test"), LocalFolder(out))
                else:
                    assert not (out / "test").exists(), "the marker goes last"
                FailingFolder.countdown = draw.randrange(8, 30)
        FailingFolder.countdown = 0
        assert contents(out) == expected
    assert cuts > 6, "the test was to cut it short often"


def test_the_same_command_again_does_nothing_and_another_one_is_refused(tmp_path, world):
    reviews, meta = world
    table = build_here(job([reviews], [meta], tmp_path / "out", LOOSE))
    before = contents(tmp_path / "out")
    said: list[str] = []
    assert build_here(job([reviews], [meta], tmp_path / "out", LOOSE), said.append) == table
    assert said == [f"Nothing to do: {tmp_path / 'out'} is complete."]
    with pytest.raises(BadInput, match=r"holds another dataset \(other rules\)"):
        build_here(job([reviews], [meta], tmp_path / "out", LOOSE.model_copy(update={"holdout": 2})))
    write_lines(reviews, [*(line for line in reviews.read_text().splitlines()), review("new", "i0", 5)])
    with pytest.raises(BadInput, match=r"holds another dataset \(other reviews\)"):
        build_here(job([reviews], [meta], tmp_path / "out", LOOSE))
    assert contents(tmp_path / "out") == before


def test_the_beginning_of_another_dataset_is_replaced(tmp_path, world):
    reviews, meta = world
    FailingFolder.countdown, FailingFolder.after = 25, False
    with pytest.raises(CutShort):
        build_here(job([reviews], [meta], FailingFolder(tmp_path / "out"), LOOSE, reviews_per_part=9))
    FailingFolder.countdown = 0
    other = LOOSE.model_copy(update={"holdout": 2})
    build_here(job([reviews], [meta], tmp_path / "out", other))
    build_here(job([reviews], [meta], tmp_path / "afresh", other))
    assert contents(tmp_path / "out") == contents(tmp_path / "afresh")


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path, world):
    (tmp_path / "out" / "items").mkdir(parents=True)
    (tmp_path / "out" / "items" / "mine.parquet").write_bytes(b"mine")
    with pytest.raises(BadInput, match="choose another --out"):
        build_here(job([world[0]], [world[1]], tmp_path / "out", LOOSE))
    assert (tmp_path / "out" / "items" / "mine.parquet").read_bytes() == b"mine"


def test_the_first_metadata_of_an_item_counts_and_the_others_are_counted(tmp_path, world):
    reviews, meta = world
    again = write_lines(tmp_path / "again.jsonl", [item("i0", title="another name"), item("i1", title="")])
    table = build_here(job([reviews], [meta, again], tmp_path / "out", LOOSE))
    assert "came again and was left out: 2" in table
    assert {row["item_id"]: row["title"] for row in read_items(tmp_path / "out")}["i0"] == "name of i0"
    first = build_here(job([reviews], [again, meta], tmp_path / "first", LOOSE))
    assert "another name" in {row["title"] for row in read_items(tmp_path / "first")}
    assert "i1" not in {row["item_id"] for row in read_items(tmp_path / "first")}, first


def test_white_space_is_collapsed_and_lengths_count_what_was_written(tmp_path):
    reviews, meta = small_world()
    spaced = "word  \n" * 40  # 280 characters, 199 once collapsed
    reviews.append(review("u0", "i5", 99_000, spaced, title="  a \t title "))
    files = write_lines(tmp_path / "r.jsonl", reviews), write_lines(tmp_path / "m.jsonl", meta)
    build_here(job([files[0]], [files[1]], tmp_path / "out", LOOSE))
    target = next(row["target"] for row in read_split(tmp_path / "out", "test") if row["user_id"] == "u0")
    assert (target["text"], target["title"]) == (" ".join(["word"] * 40), "a title")


def test_the_table_accounts_for_every_review(tmp_path, world):
    reviews, meta = world
    rows = reviews.read_text().splitlines()
    extra = [
        review("u0", "i0", 1, "short"),
        review("u0", "i0", 1, title=""),
        review("u0", "i0", 1, rating=None),
        review("u0", "unknown", 1),
    ]
    write_lines(reviews, [*rows, *extra])
    table = build_here(job([reviews], [meta], tmp_path / "out", LOOSE))
    assert (tmp_path / "out" / "table.txt").read_text() == table
    dropped = {
        cells[1].strip(): (int(cells[2].replace(",", "")), int(cells[3].replace(",", "")))
        for line in table.splitlines()
        if len(cells := line.split("│")) == 5 and cells[2].strip()[:1].isdigit()
    }
    for rule in (
        "review too short",
        "review without title",
        "review without rating or timestamp",
        "item without metadata",
    ):
        assert dropped[rule][0] == 1, table
    assert sum(count for count, _ in dropped.values()) == len(rows) + 4 - 96
    assert dropped["profile: user with too few reviews"][1] == 96

"""Footers describe their part, equal rows have equal digests, and manifests list what was committed."""

import io
import json
import tempfile
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.errors import BadInput
from drp_ray.storage.folder import LocalFolder, S3Options, open_folder
from drp_ray.storage.parts import (
    FACTS_KEY,
    Manifest,
    PartEntry,
    add_up,
    commit_part,
    part_name,
    read_committed,
    read_footer,
    read_manifest,
    read_part,
    read_rows,
    write_manifest,
)
from drp_ray.storage.versions import differing

REVIEWS = st.fixed_dictionaries(
    {
        "item_id": st.text(max_size=3),
        "rating": st.floats(allow_nan=False).map(lambda rating: rating + 0.0),
        "title": st.none() | st.text(max_size=3),
        "text": st.text(max_size=3),
        "timestamp": st.integers(-(2**63), 2**63 - 1),
    }
)
USERS = st.lists(
    st.fixed_dictionaries(
        {"user_id": st.text(max_size=3), "profile": st.lists(REVIEWS, max_size=3), "target": REVIEWS}
    ),
    max_size=6,
)


def users(rows):
    return pa.Table.from_pylist(rows, schema.USERS)


def one_user(text="good"):
    review = {"item_id": "i", "rating": 4.0, "title": None, "text": text, "timestamp": 1}
    return {"user_id": "u", "profile": [review], "target": review}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return open_folder(str(tmp_path_factory.mktemp("parts")), S3Options())


def laid_out_otherwise(rows, cuts):
    """The same rows as slices of a longer table, in chunks."""
    longer = pa.concat_tables([rows, rows, rows]).combine_chunks().slice(rows.num_rows, rows.num_rows)
    bounds = [0, *sorted(min(cut, rows.num_rows) for cut in cuts), rows.num_rows]
    return pa.concat_tables([longer.slice(start, end - start) for start, end in pairwise(bounds)])


@given(USERS, st.lists(st.integers(0, 6), max_size=3))
def test_equal_rows_make_equal_files_however_they_lie_in_memory(here, rows, cuts):
    table = users(rows)
    other = laid_out_otherwise(table, cuts).replace_schema_metadata({"from": "elsewhere"})
    first, again = commit_part(here, "a", table, {"x": 1}, "in"), commit_part(here, "b", other, {"x": 1}, "in")
    assert first.digest == again.digest
    assert here.read("a") == here.read("b")


def test_what_lies_under_a_null_does_not_count(here):
    def second_is_null(hidden):
        return pa.table({"n": pa.Array.from_buffers(pa.int64(), 3, [pa.py_buffer(b"\x05"), hidden.buffers()[1]])})

    tables = [second_is_null(pa.array([1, hidden, 3])) for hidden in (2, 9)]
    assert tables[0].equals(tables[1])
    assert len({commit_part(here, "a", table, {}, "").digest for table in tables}) == 1


@given(USERS, USERS)
def test_digests_are_equal_where_the_rows_are(here, one, other):
    digests = [commit_part(here, "a", users(rows), {}, "").digest for rows in (one, other)]
    assert (digests[0] == digests[1]) == (one == other)


@given(USERS)
def test_what_was_committed_is_read(here, rows):
    committed = commit_part(here, "a", users(rows), {"errors": 2, "seconds": 0.5}, "in")
    part = read_part(here, "a")
    assert part.rows.to_pylist() == rows
    assert part.rows.schema == schema.USERS
    assert part.rows.schema.metadata is None
    assert part.facts == {"rows": len(rows), "errors": 2, "seconds": 0.5}
    assert part.digest == committed.digest


def test_the_digest_does_not_depend_on_facts_or_input(here):
    rows = users([one_user()])
    assert commit_part(here, "a", rows, {}, "").digest == commit_part(here, "a", rows, {"x": 1}, "in").digest


def test_a_part_that_is_read_and_committed_again_is_another_columns_digest_only_if_it_changed(here):
    rows = users([one_user(), one_user("bad")])
    before = commit_part(here, "a", rows, {}, "")
    again = commit_part(here, "b", read_part(here, "a").rows.cast(schema.USERS), {}, "")
    renamed = commit_part(here, "c", rows.rename_columns(["id", "profile", "target"]), {}, "")
    assert again.digest == before.digest
    assert renamed.digest != before.digest


def test_the_footer_of_a_part_holds_its_facts_and_its_input(folder):
    commit_part(folder, part_name(7), users([one_user()]), {"errors": 1}, "digest of the input")
    footer = json.loads(pq.read_metadata(pa.BufferReader(folder.read("part-00007.parquet"))).metadata[FACTS_KEY])
    assert footer["facts"] == {"rows": 1, "errors": 1}
    assert footer["input"] == "digest of the input"


def test_read_committed_reads_the_named_parts_that_exist(folder):
    names = [part_name(index) for index in range(40)]
    committed = {name: commit_part(folder, name, users([one_user(name)]), {"n": 1}, name) for name in names}
    assert read_committed(folder, names[5:]) == {name: committed[name] for name in names[5:]}
    assert read_committed(folder, ["part-99999.parquet"]) == {}
    assert read_committed(folder.at("nothing", "here"), names) == {}


def test_the_footer_of_a_replaced_part_is_the_new_one(folder):
    name = part_name(0)
    before = commit_part(folder, name, users([one_user("old")]), {}, "old input")
    after = commit_part(folder, name, users([one_user("new")]), {}, "new input")
    assert read_committed(folder, [name]) == {name: after}
    assert after.digest != before.digest
    assert read_part(folder, name).rows.to_pylist() == [one_user("new")]


def test_parts_are_listed_in_their_order_up_to_a_hundred_thousand():
    names = [part_name(index) for index in (0, 9, 10, 99_999)]
    assert names == sorted(names)


def manifest_of(*parts, **more):
    settings = {"stage": "s", "fingerprint": "f", "made_from": {"k": [1, None]}, "inputs": {"before": "c"}}
    return Manifest(**settings, parts=list(parts), **more)


def test_a_manifest_is_read_as_it_was_written(folder):
    assert read_manifest(folder) is None
    entry = commit_part(folder, part_name(0), users([one_user()]), {"errors": 0}, "").entry
    manifest = manifest_of(entry, wall_s=1.5, totals={"rows": 1, "errors": 0})
    write_manifest(folder, manifest)
    assert read_manifest(folder) == manifest
    assert (entry.name, entry.rows) == ("part-00000.parquet", 1)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"stage": "s"}', b"\xff\x00"])
def test_a_damaged_manifest_is_named_with_what_to_do(folder, content):
    folder.write("manifest.json", content)
    with pytest.raises(BadInput, match=r"manifest\.json is damaged: delete it") as raised:
        read_manifest(folder)
    assert folder.uri in str(raised.value)


def test_the_content_of_a_manifest_changes_when_a_part_is_replaced(here):
    def entries(*texts):
        return [
            commit_part(here, part_name(index), users([one_user(text)]), {"seconds": index * len(texts)}, "").entry
            for index, text in enumerate(texts)
        ]

    content = manifest_of(*entries("a", "b")).content
    assert manifest_of(*entries("a", "b"), wall_s=9).content == content
    others = [entries("a", "c"), entries("b", "a"), entries("a"), entries("a", "b", "c")]
    assert len({content, *(manifest_of(*parts).content for parts in others)}) == 5
    assert manifest_of(PartEntry(name=part_name(0), rows=1)).content != manifest_of(*entries("a")).content


def test_a_manifest_without_totals_is_not_done():
    assert not manifest_of().is_done
    assert manifest_of(totals={}).is_done


FACTS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9))


@given(st.lists(FACTS), st.lists(FACTS))
def test_adding_up_facts_in_pieces_is_adding_them_all(some, more):
    assert add_up([add_up(some), add_up(more)]) == add_up(some + more)
    assert all(value == sum(facts.get(name, 0) for facts in some) for name, value in add_up(some).items())


def test_a_footer_says_with_which_versions_the_part_was_made(here):
    rows = pa.table({"n": [1]})
    made = commit_part(here, "part-00000.parquet", rows, {}, "")
    assert made.made_with["pyarrow"] == pa.__version__
    assert read_footer(here, "part-00000.parquet") == made


def test_the_digest_of_the_rows_does_not_depend_on_versions(here, monkeypatch):
    rows = pa.table({"n": [1]})
    first = commit_part(here, "part-00000.parquet", rows, {}, "")
    monkeypatch.setattr("drp_ray.storage.parts.versions", lambda: {"pyarrow": "0.1"})
    second = commit_part(here, "part-00000.parquet", rows, {}, "")
    assert second.made_with == {"pyarrow": "0.1"} and second.digest == first.digest
    assert differing(first.made_with, second.made_with)[-1].endswith("now absent")


def test_a_part_of_before_versions_were_written_is_read(here):
    rows = pa.table({"n": [1]})
    footer = json.dumps({"facts": {"rows": 1}, "digest": "d", "input": "i"})
    sink = io.BytesIO()
    pq.write_table(rows.replace_schema_metadata({b"drp_ray": footer}), sink)
    here.write("part-00000.parquet", sink.getvalue())
    assert read_footer(here, "part-00000.parquet").made_with == {}


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 3))
def test_the_rows_of_all_parts_are_read_in_their_order(numbers, size):
    with tempfile.TemporaryDirectory() as path:
        folder = LocalFolder(Path(path))
        table = pa.table({"n": pa.array(numbers, pa.int64()), "m": pa.array(numbers, pa.int64())})
        cuts = range(0, max(len(numbers), 1), size)
        done = [commit_part(folder, part_name(n), table.slice(start, size), {}, "") for n, start in enumerate(cuts)]
        entries = [part.entry for part in done]
        write_manifest(folder, Manifest(stage="s", fingerprint="f", made_from={}, inputs={}, parts=entries))
        assert read_rows(folder).equals(table)
        assert read_rows(folder, ["m"]).column_names == ["m"]


@pytest.mark.parametrize("stage", ["items", "comparisons", "differences"])
def test_a_finished_stage_without_parts_has_its_columns_and_no_rows(here, stage):
    write_manifest(here, Manifest(stage=stage, fingerprint="f", made_from={}, inputs={}, parts=[], totals={"rows": 0}))
    columns = getattr(schema, stage.upper())
    assert read_rows(here).equals(columns.empty_table())
    assert read_rows(here, columns.names[:2]).equals(columns.empty_table().select(columns.names[:2]))

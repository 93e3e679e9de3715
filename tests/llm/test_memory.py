"""Rows that an earlier folder has are taken over where all that they depend on is the same, and are asked elsewhere."""

import dataclasses
import hashlib
from functools import partial

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.engines.base import Completion, ModelSpec, Sampling
from drp_ray.llm.kept import KeepSettings
from drp_ray.llm.memory import Memory, content_digest, earlier_folders, paid
from drp_ray.llm.model_worker import COUNTED, ModelRow, ModelWorker
from drp_ray.llm.row_caller import RoleSpec
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import Manifest, commit_part, part_name, read_part, write_manifest
from tests.stages.working import work_in_pieces

ASKED = pa.schema([("user_id", pa.string()), ("text", pa.string()), ("rank", pa.int32())])
MADE = pa.schema([("user_id", pa.string()), ("rank", pa.int32()), ("says", pa.string()), *schema.CALL_COLUMNS])
CALLS: list[str] = []


class Echo:
    """Answers with a digest of the prompt; a prompt that says so is not answered usably."""

    concurrency, context_length, honours_seed = 4, None, True

    def __init__(self, spec):
        pass

    async def start(self):
        pass

    async def close(self):
        pass

    async def complete(self, messages, sampling):
        prompt = messages[-1]["content"]
        CALLS.append(prompt)
        text = "" if "nothing" in prompt else hashlib.sha256(f"{prompt} {sampling.seed}".encode()).hexdigest()[:8]
        return Completion(text, "stop", len(prompt), 1, 3)


class Plain:
    """A prompt of one text."""

    def __init__(self, text):
        self.text = text

    def messages_for_model(self):
        return [{"role": "system", "content": ""}, {"role": "user", "content": self.text}]

    def shorter(self):
        return None


class Says(ModelWorker):
    schema, keys = MADE, ("user_id",)

    def rows_of(self, rows):
        return [
            ModelRow(
                row["user_id"],
                partial(self.say, row["text"]),
                {"user_id": row["user_id"], "rank": row["rank"]},
                content=None if row["text"] == "never" else {"text": row["text"]},
                labels=("rank",),
            )
            for row in rows.to_pylist()
        ]

    async def say(self, text, ask):
        return {"says": await ask("generator", Plain(text))}


def worker(memory=None):
    spec = ModelSpec(engine="tests.llm.test_memory:Echo", id="echo")
    roles = {"generator": RoleSpec("echo", Sampling())}
    return Says({"echo": spec}, roles, 7, 1, memory=memory or Memory())


def table(users):
    rows = [{"user_id": user, "text": text, "rank": rank} for rank, (user, text) in enumerate(users.items())]
    return pa.Table.from_pylist(rows, ASKED)


def folder_with(place, name, users, made_from, parts=1, made_by=worker):
    """A finished folder of the stage, and the one that it was made from."""
    root = LocalFolder(place)
    made, source = root.at("says", name), root.at("asked", f"{name}-in")
    entries = []
    everything = table(users)
    size = max(-(-len(users) // parts), 1)
    for number, start in enumerate(range(0, max(len(users), 1), size)):
        rows = everything.slice(start, size)
        asked = commit_part(source, part_name(number), rows, {}, "")
        done, facts = work_in_pieces(made_by(), part_name(number), rows, 1)
        entries.append(commit_part(made, part_name(number), done, facts, asked.digest).entry)
    full = {**made_from, "inputs": {"asked": f"{name}-in"}}
    write_manifest(made, Manifest(stage="says", fingerprint=name, made_from=full, inputs={}, parts=entries, totals={}))
    return made


def memory_at(place, made_from, own="new"):
    root = LocalFolder(place)
    return Memory(earlier_folders(root.at("says"), own, root.at("asked"), "asked", made_from))


FROM = {"version": 1, "settings": {"model": "echo"}}
TEXTS = st.sampled_from(["a", "b", "c", "nothing", "never"])
USERS = st.dictionaries(st.sampled_from([f"u{number}" for number in range(6)]), TEXTS, max_size=6)


@settings(max_examples=25)
@given(USERS, USERS.filter(bool), st.integers(1, 3))
def test_only_what_changed_is_asked_again_and_rows_are_what_they_would_be(tmp_path_factory, before, after, parts):
    place = tmp_path_factory.mktemp("memory")
    folder_with(place, "old", before, FROM, parts)
    fresh, _ = work_in_pieces(worker(), "part", table(after), 1)
    CALLS.clear()
    rows, facts = work_in_pieces(worker(memory_at(place, FROM)), "part", table(after), 2)
    same = {user for user, text in after.items() if before.get(user) == text and text not in ("nothing", "never")}
    assert sorted(CALLS) == sorted(text for user, text in after.items() if user not in same)
    assert rows.equals(fresh)
    assert facts.get("reused", 0) == len(same)
    assert facts.get("reused_completion_tokens", 0) == 3 * len(same)


@pytest.mark.parametrize("other", [{"version": 2}, {"settings": {"model": "other"}}])
def test_a_folder_of_other_settings_is_not_looked_at(tmp_path, other):
    folder_with(tmp_path, "old", {"u": "a"}, {**FROM, **other})
    assert memory_at(tmp_path, FROM).earlier == ()
    assert memory_at(tmp_path, {**FROM, **other}).earlier != ()
    assert memory_at(tmp_path, {**FROM, **other}, own="old").earlier == ()


def test_a_part_whose_input_is_another_one_now_or_that_is_damaged_is_asked_again(tmp_path):
    made = folder_with(tmp_path, "old", {"u0": "a", "u1": "b", "u2": "c"}, FROM, parts=3)
    root = LocalFolder(tmp_path)
    commit_part(root.at("asked", "old-in"), part_name(0), table({"u0": "a", "extra": "b"}), {}, "")
    (tmp_path / "asked" / "old-in" / part_name(1)).write_bytes(b"damaged")
    CALLS.clear()
    _, facts = work_in_pieces(worker(memory_at(tmp_path, FROM)), "part", table({"u0": "a", "u1": "b", "u2": "c"}), 1)
    assert sorted(CALLS) == ["a", "b"]
    assert facts["reused"] == 1
    assert made.uri.endswith("old")


def test_a_row_keeps_its_answer_and_gets_the_place_that_it_has_now(tmp_path):
    folder_with(tmp_path, "old", {"u0": "a", "u1": "b"}, FROM)
    rows, facts = work_in_pieces(worker(memory_at(tmp_path, FROM)), "part", table({"u1": "b", "u0": "a"}), 1)
    assert facts["reused"] == 2
    assert dict(zip(rows["user_id"].to_pylist(), rows["rank"].to_pylist(), strict=True)) == {"u1": 0, "u0": 1}


def test_seeds_are_of_the_key_so_that_another_user_with_the_same_text_is_asked():
    assert content_digest("u", {"text": "a"}) != content_digest("v", {"text": "a"})


def test_the_calls_of_a_row_that_failed_here_are_not_kept_as_those_of_one_that_is_taken_over(tmp_path):
    folder_with(tmp_path, "old", {"u0": "a", "u1": "b"}, FROM)
    kept = LocalFolder(tmp_path / "kept")
    asked = table({"u0": "a", "u1": "b"})
    first = dataclasses.replace(worker(), keep=KeepSettings(kept, prompts=True))
    made, _ = work_in_pieces(first, part_name(0), asked, 1)
    status = pa.array(["error", "ok"])
    failed = made.set_column(made.schema.get_field_index("status"), made.schema.field("status"), status)
    again = dataclasses.replace(worker(memory_at(tmp_path, FROM)), keep=KeepSettings(kept, prompts=True))
    _, facts = work_in_pieces(again, part_name(0), asked, 1, earlier=failed)
    assert facts["reused"] == 1 and read_part(kept, part_name(0)).rows["user_id"].to_pylist() == ["u1"]


@settings(max_examples=25)
@given(st.lists(st.sampled_from(["ok", "error"]), min_size=1, max_size=5), st.booleans())
def test_what_was_paid_for_rows_that_are_asked_again_still_counts(tmp_path_factory, statuses, others_have_them):
    place, texts = tmp_path_factory.mktemp("paid"), {f"u{place}": "a" for place in range(len(statuses))}
    if others_have_them:
        folder_with(place, "old", texts, FROM)
    first, facts = work_in_pieces(worker(), part_name(0), table(texts), 1)
    index = first.schema.get_field_index("status")
    failed = first.set_column(index, first.schema.field(index), pa.array(statuses))
    CALLS.clear()
    _, mended = work_in_pieces(worker(memory_at(place, FROM)), part_name(0), table(texts), 1, earlier=failed)
    assert len(CALLS) == (0 if others_have_them else statuses.count("error"))
    for name in COUNTED:
        of_a_row = facts[name] / len(statuses)
        assert paid(mended, name) == facts[name] + of_a_row * len(CALLS)

"""With `users.pseudonyms` no id of a user is stored, and nothing else is another."""

import os

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.config import PSEUDONYM_KEY, checked
from drp_ray.data.sample_files import write_sample
from drp_ray.errors import BadInput
from drp_ray.inputs.chosen_users import chosen_rows
from drp_ray.inputs.pseudonyms import key_tag, pseudonym
from drp_ray.job.opened_job import open_job
from drp_ray.stages.users import write_user_parts
from drp_ray.storage.folder import LocalFolder

KEY, OTHER = "a key that nobody guesses", "another key, as long"
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "sample"
    write_sample(LocalFolder(folder), 12, seed=1)
    return folder


@pytest.fixture
def opened(sample, tmp_path, monkeypatch):
    def opened(key=KEY, **users):
        monkeypatch.setenv(PSEUDONYM_KEY, key)
        settings = {
            "name": "run",
            "method": "drp",
            "models": {"llm": {"id": "m", "engine": "openai", "base_url": "http://h/v1"}},
        }
        return open_job(
            checked({**settings, "dataset": str(sample), "root": str(tmp_path / "out"), "users": users}, "the test")
        )

    return opened


def all_users(job):
    return [row for group in job.dataset.row_groups() for row in job.dataset.read_users(group).to_pylist()]


@given(ids=st.lists(TEXT, unique=True, max_size=20), key=st.binary(min_size=16, max_size=40))
def test_users_stay_apart_and_their_ids_do_not_show(ids, key):
    names = [pseudonym(key, user_id) for user_id in ids]
    assert len(set(names)) == len(ids)
    assert names == [pseudonym(key, user_id) for user_id in ids]
    assert not any(
        len(user_id) > 2 and user_id in name
        for user_id, name in zip(ids, names, strict=True)
        if not set(user_id) <= set("p-0123456789abcdef")
    )


@given(key=st.binary(min_size=16), other=st.binary(min_size=16), user_id=TEXT)
def test_another_key_gives_other_names_and_another_tag(key, other, user_id):
    assert (pseudonym(key, user_id) == pseudonym(other, user_id)) == (key == other) == (key_tag(key) == key_tag(other))


def test_only_the_ids_are_others(opened):
    plain, hidden = all_users(opened()), all_users(opened(pseudonyms=True))
    assert [row["user_id"] for row in hidden] == [pseudonym(KEY.encode(), row["user_id"]) for row in plain]
    assert [{**row, "user_id": ""} for row in hidden] == [{**row, "user_id": ""} for row in plain]


def test_the_same_users_are_drawn(opened):
    plain, hidden = opened(sample=5, seed=7), opened(sample=5, seed=7, pseudonyms=True)
    assert chosen_rows(plain.dataset, plain.config.users) == chosen_rows(hidden.dataset, hidden.config.users)


def test_what_is_stored_holds_no_id(opened, tmp_path):
    job = opened(pseudonyms=True)
    ids = [row["user_id"] for row in all_users(opened())]
    for group in job.dataset.row_groups():
        unit = {"file": group.file, "index": group.index, "rows": list(range(group.rows)), "first_part": 0}
        write_user_parts(unit, job.dataset, 100, LocalFolder(tmp_path / "users"))
    stored = pq.read_table(tmp_path / "users").to_pylist()
    assert len(stored) == len(ids)
    assert not any(user_id in str(stored) for user_id in ids)


def test_another_key_is_another_folder_and_none_is_the_folder_of_before(opened):
    prints = [
        job.plan.stages["users"].fingerprint
        for job in (opened(), opened(pseudonyms=False), opened(pseudonyms=True), opened(OTHER, pseudonyms=True))
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
    job = opened(pseudonyms=True)
    assert KEY not in str(job.plan) + str(job.dataset) + str(job.config), (
        "the key is in nothing that is written or logged"
    )


@pytest.mark.parametrize("key", ["", "short"])
def test_without_a_key_a_job_does_not_begin(opened, key):
    with pytest.raises(BadInput, match=f"16 characters or more in the environment variable {PSEUDONYM_KEY}"):
        opened(key, pseudonyms=True)
    assert os.environ[PSEUDONYM_KEY] == key

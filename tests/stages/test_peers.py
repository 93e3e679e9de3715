"""Reviews by others: cicl's is another user's review of the same item, persona-db's are the true nearest user's."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.config import checked
from drp_ray.data.sample_files import write_sample
from drp_ray.inputs.catalogue import Catalogue, build_catalogue
from drp_ray.job.opened_job import open_job
from drp_ray.job.run import run
from drp_ray.stages.peers_contrast import WANTED, Contrast
from drp_ray.stages.peers_neighbour import nearest_users
from drp_ray.stages.retrieval import retrieve
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import part_names, read_part
from tests.fakes import HashEmbedder

USERS = 16


@pytest.fixture(scope="module")
def found(ray_here, tmp_path_factory):
    """Run the stages up to `peers` with overrides, and give what they hold."""
    folder = tmp_path_factory.mktemp("peers")
    write_sample(LocalFolder(folder / "sample"), USERS, seed=3)
    write_in_small_row_groups(folder / "sample", folder / "small")
    (folder / "script").write_text(json.dumps({}))

    def found(method, dataset="sample", **sections):
        settings = {
            "name": f"{method}-{sum(1 for _ in folder.rglob('run.json'))}",
            "dataset": str(folder / dataset),
            "root": str(folder / "results"),
            "method": method,
            "retrieval": {"n": 3},
            "embedding": {"engine": "tests.fakes:HashEmbedder", "model": str(folder / "log"), "num_gpus": 0},
            "models": {"llm": {"engine": "tests.fakes:ScriptedEngine", "id": str(folder / "script")}},
            "runtime": {"rows_per_part": 5, "num_cpus": 2},
        }
        settings["embedding"]["replicas"] = 1
        opened = open_job(checked({**settings, **sections}, "the test"))
        run(opened, lambda line: None, until="peers")
        return SimpleNamespace(
            job=opened,
            catalogue=Catalogue(build_catalogue(opened.dataset)),
            everyone=everyone(opened.dataset),
            **{name: rows(info.folder) for name, info in opened.plan.stages.items() if part_names(info.folder)},
        )

    return found


def write_in_small_row_groups(source, folder):
    """The same dataset, two users a row group, with a twin of the first user who wrote the same texts."""
    users = pa.concat_tables([pq.read_table(path) for path in sorted((source / "users").iterdir())])
    twin = users.slice(0, 1).set_column(0, "user_id", pa.array(["a-twin"]))
    (folder / "users").mkdir(parents=True)
    pq.write_table(pa.concat_tables([users, twin]), folder / "users" / "part-0.parquet", row_group_size=2)
    shutil.copytree(source / "items", folder / "items")


def rows(folder):
    return [row for name in part_names(folder) for row in read_part(folder, name).rows.to_pylist()]


def everyone(dataset):
    return {row["user_id"]: row for group in dataset.row_groups() for row in dataset.read_users(group).to_pylist()}


def embed(text, log):
    return HashEmbedder(SimpleNamespace(model=log)).encode([text])[0]


def true_neighbours(world, log):
    """By brute force, in plain loops: the mean over a user's reviews of requested items, then the highest cosine."""
    requested = {item["item_id"] for item in world.items}
    means = {}
    for user_id, user in world.everyone.items():
        vectors = [embed(review["text"], log) for review in user["profile"] if review["item_id"] in requested]
        if vectors:
            means[user_id] = sum(vector.astype(float) for vector in vectors) / len(vectors)

    def nearest(user_id):
        return max((other for other in means if other != user_id), key=lambda other: cosine(user_id, other))

    def cosine(one, other):
        return means[one] @ means[other] / np.linalg.norm(means[one]) / np.linalg.norm(means[other])

    return {user_id: nearest(user_id) for user_id in means}


def test_persona_db_reads_the_reviews_of_the_true_nearest_user(found, tmp_path):
    world = found("persona-db", users={"limit": 9})
    neighbours = true_neighbours(world, tmp_path / "log")
    assert len(world.peers) == 9
    assert set(neighbours.values()) - {row["user_id"] for row in world.users}, "neighbours are found among everyone"
    for row in world.peers:
        peer, target = neighbours[row["user_id"]], world.everyone[row["user_id"]]["target"]
        assert peer != row["user_id"]
        profile = world.everyone[peer]["profile"]
        best = retrieve(profile, target, world.catalogue, world.job.config.retrieval, k=0).history
        assert row["reviews"] == [{"user_id": peer, **profile[position]} for position in best]
        assert len(row["reviews"]) == 3


def test_cicl_shows_another_users_review_of_the_most_relevant_reviewed_item(found):
    world = found("cicl")
    histories = {row["user_id"]: row["history"] for row in world.retrieved}
    for row in world.peers:
        profile = world.everyone[row["user_id"]]["profile"]
        [negative] = row["reviews"]
        assert negative["user_id"] != row["user_id"]
        assert {name: value for name, value in negative.items() if name != "user_id"} in world.everyone[
            negative["user_id"]
        ]["profile"]
        ranked = [profile[position]["item_id"] for position in histories[row["user_id"]]]
        shared = [item_id for item_id in ranked if world.catalogue[item_id].reviewers > 1]
        assert negative["item_id"] == shared[0]


def test_row_groups_without_a_neighbour_and_users_alone_in_one_are_no_trouble(found):
    world = found("persona-db", "small", users={"limit": 1})
    assert [review["user_id"] for review in world.peers[0]["reviews"]] == ["a-twin"] * 3


@pytest.mark.parametrize(("others", "chosen"), [([], []), (["other"], ["other"])])
def test_the_users_own_words_under_another_name_are_no_contrast(others, chosen):
    def user(user_id, text):
        review = {"item_id": "i", "rating": 1.0, "title": None, "text": text, "timestamp": 0}
        return {"user_id": user_id, "profile": [review], "target": review}

    people = [user("me", "the same"), user("twin", "the same"), *(user(name, "different") for name in others)]
    request = {"part": 0, "user_id": "me", "item_id": "i", "text": "the same", "until": 0}
    found = Contrast(None, None, None, 0, "none").search(
        pa.Table.from_pylist(people, schema.USERS), pa.Table.from_pylist([request], WANTED)
    )
    assert found["user_id"].to_pylist() == chosen


def test_the_seed_decides_whose_review_it_is(found):
    def authors(seed):
        peers = found("cicl", selection={"seed": seed}).peers
        return [row["reviews"][0]["user_id"] for row in peers]

    assert authors(1) == [row["reviews"][0]["user_id"] for row in found("cicl", selection={"seed": 1}).peers]
    assert authors(1) != authors(2)


@pytest.mark.parametrize(("method", "users"), [("cicl", {}), ("persona-db", {"limit": 9})])
def test_as_of_the_target_nothing_newer_is_shown(found, method, users):
    def newer(as_of):
        world = found(method, selection={"as_of": as_of}, users=users)
        until = {user_id: user["target"]["timestamp"] for user_id, user in world.everyone.items()}
        return sum(review["timestamp"] > until[row["user_id"]] for row in world.peers for review in row["reviews"])

    assert newer("none") > 0
    assert newer("target") == 0


@given(st.integers(2, 40), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_nearest_users_are_those_of_a_plain_search(n, width, seed):
    means = np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)
    known = [f"u{number:03d}" for number in range(n)]
    nearest = nearest_users([*known, "a stranger"], known, means)
    assert set(nearest) == set(known)
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    for user_id, peer in nearest.items():
        here = known.index(user_id)
        others = [number for number in range(n) if number != here]
        assert peer != user_id
        best = max(float(unit[here] @ unit[number]) for number in others)
        assert float(unit[here] @ unit[known.index(peer)]) == pytest.approx(best, abs=1e-5)


def test_whoever_is_alone_has_no_neighbour():
    assert nearest_users(["a"], ["a"], np.ones((1, 3), np.float32)) == {}
    assert nearest_users(["b"], ["a", "c"], np.ones((2, 3), np.float32)) == {}
    assert nearest_users(["a"], [], np.empty((0, 0), np.float32)) == {}


@given(st.integers(2, 30), st.sampled_from([8, 384]), st.integers(0, 2**32 - 1))
def test_a_neighbour_does_not_depend_on_who_is_asked_for_at_the_same_time(n, width, seed):
    means = np.repeat(np.random.default_rng(seed).normal(size=(-(-n // 3), width)), 3, axis=0)[:n].astype(np.float32)
    known = [f"u{number:03d}" for number in range(n)]
    alone = {user_id: nearest_users([user_id], known, means)[user_id] for user_id in known}
    assert nearest_users(known, known, means) == alone


def test_users_with_equal_means_are_each_others_neighbours_not_their_own():
    assert nearest_users(["a", "b", "c"], ["a", "b", "c"], np.ones((3, 2), np.float32)) == {
        "a": "b", "b": "a", "c": "a",
    }  # fmt: skip

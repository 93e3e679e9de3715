"""What is counted of all users is what the stages find one by one."""

import numpy as np
import pytest
import yaml

from drp_ray.config import load_config
from drp_ray.data.sample_files import write_sample
from drp_ray.inputs.catalogue import Catalogue
from drp_ray.inputs.review_times import ReviewTimes, build_review_times
from drp_ray.job.opened_job import open_job
from drp_ray.planning.census import take_census
from drp_ray.planning.sampled_users import draw_places
from drp_ray.stages.retrieval import retrieve
from drp_ray.storage.folder import LocalFolder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("census")
    write_sample(LocalFolder(place / "data"), 40, 0)
    return place


def opened(folder, *overrides):
    job = {"name": "run", "dataset": str(folder / "data"), "root": str(folder / "out"), "method": "drp"}
    job["models"] = {"llm": {"engine": "openai", "id": "some/model"}}
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return open_job(load_config(folder / "job.yaml", overrides))


@pytest.mark.parametrize("as_of", ["none", "target"])
@pytest.mark.parametrize(("k", "n"), [(1, 3), (4, 8), (9, 8), (14, 8)])
@pytest.mark.parametrize("chosen", ["users.limit=null", "users.sample=11", "users.limit=7"])
def test_comparisons_are_counted_as_they_are_retrieved(folder, as_of, k, n, chosen):
    job = opened(folder, f"selection.as_of={as_of}", f"selection.k={k}", f"retrieval.n={n}", chosen)
    census = take_census(job.dataset, job.config)
    items = Catalogue(census.catalogue)
    times = ReviewTimes(build_review_times(job.dataset)) if as_of == "target" else None
    everything = job.config.retrieval.model_copy(update={"n": 1_000})
    users = [user for group in job.dataset.row_groups() for user in job.dataset.read_users(group).to_pylist()]
    found = {
        user["user_id"]: retrieve(user["profile"], user["target"], items, job.config.retrieval, k, times)
        for user in users
    }
    compared_on = {
        user["profile"][place]["item_id"]
        for user in users
        if user["user_id"] in census.user_ids
        for place in retrieve(user["profile"], user["target"], items, everything, k, times).eligible
    }
    reviews = {(user["user_id"], each["item_id"]) for user in users for each in user["profile"]}
    assert census.texts_to_embed == sum(item in compared_on for _, item in reviews)
    assert census.comparisons.tolist() == [len(found[user].eligible) for user in census.user_ids]
    assert census.profiles.tolist() == [len({each["item_id"] for each in of(users, user)}) for user in census.user_ids]


def of(users, user_id):
    return next(user["profile"] for user in users if user["user_id"] == user_id)


def test_a_sample_is_nested_and_depends_on_ids_alone(folder):
    census = take_census(opened(folder).dataset, opened(folder).config)
    small, large = (set(draw_places(census, size, 3).tolist()) for size in (5, 20))
    assert small < large
    assert set(draw_places(census, 5, 4).tolist()) != small
    assert len(draw_places(census, 1000, 0)) == 40


def test_users_of_every_kind_are_in_a_sample(folder):
    census = take_census(opened(folder, "selection.k=13").dataset, opened(folder, "selection.k=13").config)
    places = draw_places(census, 3, 0)
    kinds, counts = np.unique(census.strata, return_counts=True)
    for kind, count in zip(kinds, counts, strict=True):
        assert (census.strata[places] == kind).sum() >= min(2, count)

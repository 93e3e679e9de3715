"""Real reviews: the reference is at every metric's ceiling, another reviewer at the floor, and authors are found."""

import pyarrow as pa
import pytest

from drp_ray.config import Evaluation
from drp_ray.evaluation.authorship import AUTHORS
from drp_ray.evaluation.controls import CEILING, FLOOR, OF_DATA, control_schema, score_controls
from drp_ray.evaluation.metrics.base import open_metrics
from drp_ray.inputs.dataset import Dataset
from drp_ray.stages.controls import WANTED, control_row, search, swapped_users
from drp_ray.storage.folder import LocalFolder
from tests.evaluation.conftest import wordnet_folder
from tests.real_reviews import RAW

__all__ = ["wordnet_folder"]

pytestmark = pytest.mark.skipif(
    not RAW.is_dir(), reason="the raw reviews lie beside the developers' checkouts and are not part of the project"
)


@pytest.fixture(scope="module")
def scored(music, wordnet_folder):
    """The controls of all users, scored; a row a user."""
    dataset = Dataset.open(LocalFolder(music / "test"), LocalFolder(music))
    table = pa.concat_tables([dataset.read_users(group) for group in dataset.row_groups()])
    users = table.to_pylist()
    partners = swapped_users((user["target"]["item_id"], user["user_id"]) for user in users)
    requests = [
        {
            "part": 0,
            "user_id": user["user_id"],
            "item_id": user["target"]["item_id"],
            "text": user["target"]["text"],
            "until": user["target"]["timestamp"],
            "swapped_user": partners.get(user["user_id"]),
        }
        for user in users
    ]
    wanted = pa.Table.from_pylist(requests, WANTED)
    found: dict = {}
    for row in sorted(search(table, wanted), key=lambda row: row["order"]):
        found.setdefault(row["for_user"], []).append(row)
    rows = [
        control_row(user, request, found.get(user["user_id"], []))
        for user, request in zip(users, requests, strict=True)
    ]
    texts = {name: [row[name] for row in rows] for name in OF_DATA if name != CEILING}
    texts[CEILING] = [user["target"]["text"] for user in users]
    metrics = open_metrics(Evaluation(), wordnet_folder.parent)
    made = score_controls(metrics, users, texts, OF_DATA, [row["authors"] for row in rows])
    return pa.Table.from_pylist(made, control_schema(metrics, OF_DATA, OF_DATA)).to_pandas()


@pytest.mark.parametrize(("name", "ceiling"), [("rouge1", 1), ("rougeL", 1), ("bleu", 100), ("meteor", 1)])
def test_the_real_review_is_at_the_ceiling_and_another_reviewer_far_below(scored, name, ceiling):
    assert scored[f"{CEILING}:{name}"].min() >= 0.98 * ceiling
    assert scored[f"{FLOOR}:{name}"].mean() < 0.4 * ceiling
    assert scored[f"{FLOOR}:{name}"].count() > 200


def test_the_author_of_a_real_review_is_found_far_above_chance_and_a_strangers_review_is_not_the_users(scored):
    known = scored[f"{CEILING}:author_words"].count()
    assert known == 199, "users with four other reviewers who wrote in other words and have two other reviews"
    assert scored[f"{CEILING}:author_characters"].mean() == pytest.approx(0.80, abs=0.05)
    assert scored[f"{CEILING}:author_words"].mean() == pytest.approx(0.48, abs=0.05)
    for way in ("author_characters", "author_words"):
        assert scored[f"{FLOOR}:{way}"].mean() < 1 / AUTHORS
        assert scored[f"own_review:{way}"].mean() > 2 / AUTHORS, "the user's other reviews are the user's, too"


def test_nobody_copies_the_own_profile_word_for_word(scored):
    assert scored[f"{CEILING}:copy_rate"].mean() < 0.1
    assert scored["own_review:copy_rate"].min() == 1

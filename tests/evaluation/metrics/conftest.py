"""All metrics as a job opens them, with what they need already loaded."""

import pytest

from drp_ray.config import Evaluation
from drp_ray.evaluation.metrics.base import open_metrics
from tests.evaluation.metrics.texts import score_row


@pytest.fixture(scope="session")
def metrics(wordnet_folder):
    opened = {each.name: each for each in open_metrics(Evaluation(), wordnet_folder.parent)}
    score_row(opened.values(), "a text", "a text")  # A test that takes WordNet away must not reach these.
    return opened

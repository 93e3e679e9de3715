"""A new metric is one new file: in a copy of the package with one file more, the stage `scores` computes it too."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import drp_ray
from drp_ray.evaluation.metrics.base import METRICS, scores_schema

NEW_FILE = '''
"""SAME: the share of predictions that are their reference, word for word."""

from drp_ray.evaluation.metrics.base import Metric, Scores, metric


@metric("same", "SAME", "same_letters")
class Same(Metric):
    """1 where the texts are the same."""

    class Settings(Metric.Settings):
        """How to compare."""

        ignore_case: bool = False

    settings: Settings

    @property
    def signature(self) -> str:
        """See `Metric`."""
        return "same v1"

    def score(self, prediction: str, reference: str) -> Scores:
        """See `Metric`."""
        if self.settings.ignore_case:
            prediction, reference = prediction.lower(), reference.lower()
        return {"same": float(prediction == reference), "same_letters": len(prediction)}
'''

SCORE = """
import asyncio, json, sys
from pathlib import Path
import pyarrow as pa
from drp_ray import schema
from drp_ray.config import Evaluation
from drp_ray.evaluation.metrics.base import open_metrics, signatures
from drp_ray.stages.scores import Score, reported
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import commit_part

evaluation, cache = Evaluation(metrics={"same": {"ignore_case": True}}), Path(sys.argv[1])
texts = [("A car", "a car"), ("a car", "no car"), (None, "a car")]
rows = [{"user_id": str(n), "prediction": text, "reference": true} for n, (text, true) in enumerate(texts)]

users = LocalFolder(Path("users"))
target = {"item_id": "i", "rating": 1.0, "title": None, "text": "a car", "timestamp": 1}
everybody = [{"user_id": row["user_id"], "profile": [], "target": target} for row in rows]
commit_part(users, "part-00000.parquet", pa.Table.from_pylist(everybody, schema.USERS), {}, "")

async def scored():
    worker = Score(evaluation, cache, users)
    await worker.start(lambda **counts: None)
    made = await worker.work("part-00000.parquet", pa.Table.from_pylist(rows, schema.PREDICTIONS), None)
    return made, worker.facts(made)

made, facts = asyncio.run(scored())
print(json.dumps({
    "columns": made.schema.names,
    "same": made["same"].to_pylist(),
    "facts": facts,
    "reported": reported(open_metrics(evaluation, cache), facts),
    "signature": signatures(evaluation)["same"],
}))
"""


def test_one_new_file_is_a_new_metric_of_the_stage(tmp_path, wordnet_folder):
    package = tmp_path / "copy" / "drp_ray"
    shutil.copytree(Path(drp_ray.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "evaluation" / "metrics" / "same.py").write_text(NEW_FILE)
    command = [sys.executable, "-c", SCORE, str(wordnet_folder.parent)]
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["columns"][:-2] == scores_schema().names, "the columns of the others keep their places"
    assert found["columns"][-2:] == ["same", "same_letters"]
    assert found["same"] == [1.0, 0.0, None]
    assert found["reported"]["same"] == 0.5
    assert found["facts"]["scored:same"] == found["facts"]["scored:rouge1"] == 2
    assert found["facts"]["same_letters"] == 10
    assert found["facts"]["retryable"] == 0
    assert found["signature"] == "same v1|ignore_case:true"


def test_only_the_files_of_metrics_name_a_metric_or_what_it_needs():
    package = Path(drp_ray.__file__).parent
    words = [*METRICS, *(cls.title for cls in METRICS.values()), "WordNet"]
    named = re.compile(rf"\b({'|'.join(words)})\b", re.IGNORECASE)
    elsewhere = [path for path in package.rglob("*.py") if package / "evaluation" not in path.parents]
    assert len(elsewhere) > 50
    assert [str(path) for path in elsewhere if named.search(path.read_text())] == []

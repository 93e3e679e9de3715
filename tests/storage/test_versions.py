"""What parts and runs say that they were made with."""

import subprocess
from pathlib import Path

import drp_ray
from drp_ray.storage.versions import differing, versions


def test_the_commit_is_named_where_the_package_lies_in_a_repository():
    place = str(Path(drp_ray.__file__).parent)
    describe = ["git", "-C", place, "describe", "--always", "--dirty", "--abbrev=40"]
    here = subprocess.run(describe, capture_output=True, text=True, check=False)
    assert versions().get("commit") == (here.stdout.strip() if here.returncode == 0 else None)
    assert versions()["ray"] and versions()["pyarrow"]


def test_what_differs_is_named_with_both_versions_and_what_came_or_went():
    before, now = {"ray": "1", "torch": "2", "nltk": "3"}, {"ray": "2", "nltk": "3", "vllm": "4"}
    assert differing(before, now) == ["ray 1, now 2", "torch 2, now absent", "vllm absent, now 4"]

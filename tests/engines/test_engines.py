"""`make_engine` finds an engine by its name or its import path."""

import pickle
import subprocess
import sys

import pytest
from pydantic import ValidationError

from drp_ray.config import ENGINE_NAMES, Model, SamplingSettings
from drp_ray.engines import ENGINES, base, make_engine
from drp_ray.engines.base import ModelSpec, Sampling
from drp_ray.errors import BadInput


class OwnEngine:
    def __init__(self, spec):
        self.spec = spec


class BrokenEngine:
    def __init__(self, spec):
        spec.no_such_setting  # noqa: B018


@pytest.mark.parametrize(("name", "class_name"), [("vllm", "VllmEngine"), ("openai", "OpenAIEngine")])
def test_built_in_engines_are_found_by_name(name, class_name):
    spec = ModelSpec(engine=name, id="some/model")
    engine = make_engine(spec)
    assert type(engine).__name__ == class_name
    assert engine.spec is spec


def test_the_names_that_a_configuration_takes_are_those_of_engines():
    assert set(ENGINES) == set(ENGINE_NAMES)


@pytest.mark.parametrize(
    ("engine", "id_", "is_path"), [("vllm", "mine", True), ("vllm", "org/model", False), ("openai", "mine", False)]
)
def test_a_model_in_a_folder_is_found_from_any_current_folder(tmp_path, monkeypatch, engine, id_, is_path):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    spec = ModelSpec.of(Model(engine=engine, id=id_), None)
    assert spec.id == (str(tmp_path / id_) if is_path else id_)


def test_an_engine_of_your_own_is_found_by_import_path():
    engine = make_engine(ModelSpec(engine=f"{__name__}:OwnEngine", id="mine"))
    assert type(engine) is OwnEngine


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("vlm", "did you mean vllm"),
        ("tensorrt", "known: openai, vllm"),
        (f"{__name__}:NoEngine", "has no class NoEngine"),
        (f"{__name__}:", "package.module:Class"),
        ("no_such_package.engine:Engine", "there is no module 'no_such_package'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name, says):
    with pytest.raises(BadInput, match=says):
        make_engine(ModelSpec.model_construct(engine=name, id="m"))


def test_a_fault_inside_an_engine_of_your_own_is_not_taken_for_a_missing_class():
    with pytest.raises(AttributeError, match="no_such_setting"):
        make_engine(ModelSpec(engine=f"{__name__}:BrokenEngine", id="m"))


def test_making_a_vllm_engine_imports_neither_vllm_nor_torch():
    code = """if True:
        import sys
        from drp_ray.engines import make_engine
        from drp_ray.engines.base import ModelSpec
        make_engine(ModelSpec(engine="vllm", id="m"))
        print(*{"vllm", "torch", "transformers", "openai"} & set(sys.modules))
    """
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == ""


def test_a_spec_travels_to_another_process_and_hides_its_key():
    spec = ModelSpec(engine="openai", id="m", api_key="secret", chat_template_kwargs={"enable_thinking": True})
    arrived = pickle.loads(pickle.dumps(spec))
    assert arrived == spec
    assert arrived.api_key == "secret"
    for shown in (repr(spec), str(spec), str(spec.model_dump()), spec.model_dump_json()):
        assert "secret" not in shown


def test_an_error_in_a_spec_does_not_show_its_key():
    with pytest.raises(ValidationError, match="base_url has no meaning") as caught:
        ModelSpec(engine="vllm", id="m", base_url="http://there", api_key="secret")
    assert "secret" not in str(caught.value)


def test_a_spec_is_the_configuration_of_a_model_with_its_key():
    model = Model(engine="openai", id="m", api_key_env="KEY", concurrency=4, chat_template_kwargs={"a": [1, (2,)]})
    spec = ModelSpec.of(model, "secret")
    assert spec.api_key == "secret"
    assert spec.model_dump() == model.model_dump()
    assert spec.model_fields_set - {"api_key"} == model.model_fields_set
    assert ModelSpec.of(spec, "another").api_key == "another"
    assert ModelSpec.of(spec, None).api_key is None


def test_engines_take_the_settings_of_the_configuration_and_no_copies_of_them():
    assert set(ModelSpec.model_fields) - set(Model.model_fields) == {"api_key", "devices"}
    assert set(Sampling.model_fields) - set(SamplingSettings.model_fields) == {
        "seed",
        "choices",
        "logprobs",
        "priority",
    }


def test_base_exports_what_an_engine_of_your_own_imports():
    assert {
        "CallGivenUp", "Completion", "Engine", "EngineDied", "Message", "ModelNotLoaded", "ModelSpec", "PromptTooLong",
        "RequestRefused", "Sampling",
    } <= set(dir(base))  # fmt: skip

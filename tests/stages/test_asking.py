"""What stages that ask language models take from the configuration."""

from pathlib import Path

import pytest

from drp_ray.config import Model, checked
from drp_ray.inputs.dataset import Dataset
from drp_ray.job.plan import make_plan
from drp_ray.llm.kept import KeepSettings
from drp_ray.stages.asking import asking_arguments, thinking_of
from drp_ray.stages.stage import StageContext
from drp_ray.storage.folder import LocalFolder


@pytest.mark.parametrize(
    ("model", "thinking"),
    [
        ({"id": "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", "engine": "openai"}, "always"),
        ({"id": "deepseek-r1:14b", "engine": "openai"}, "always"),
        ({"id": "Qwen/QwQ-32B", "engine": "openai"}, "always"),
        ({"id": "gpt-4o-mini", "engine": "openai"}, "auto"),
        ({"id": "deepseek-r1:14b", "engine": "openai", "thinking": "never"}, "never"),
        ({"id": "llm", "engine": "openai", "thinking": "always"}, "always"),
        # The vLLM engine sees whether its template opens the thinking.
        ({"id": "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B"}, "auto"),
    ],
)
def test_an_endpoint_of_a_model_that_always_thinks_is_known_by_its_name_unless_the_job_says_otherwise(model, thinking):
    assert thinking_of(Model(**model)) == thinking


@pytest.fixture
def arguments(tmp_path):
    """The arguments of the workers of `differences` with these settings, and the stage's folder."""

    def arguments(**settings):
        job = {"name": "j", "dataset": "d", "root": "r", "method": "drp", "models": {"llm": {"id": "some/model"}}}
        plan = make_plan(checked({**job, **settings}, "the test"), "d", {}, LocalFolder(tmp_path))
        folders = {name: info.folder for name, info in plan.stages.items()}
        nothing = Dataset(*[LocalFolder(tmp_path)] * 3)
        context = StageContext(plan.spec, nothing, folders, Path(), {})
        return asking_arguments(context, "differences", plan.spec.differences), folders["differences"]

    return arguments


FURTHER = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "presence_penalty": 0.5, "stop": ("x",)}


def test_every_role_is_asked_with_all_sampling_settings_and_its_models_thinking(arguments):
    model = {"id": "deepseek-r1:14b", "engine": "openai"}
    roles = arguments(sampling={**FURTHER, "extractor": {"top_k": 7}}, models={"llm": model})[0]["roles"]
    assert roles.keys() == {"extractor", "validator"}
    for name, role in roles.items():
        sampling = role.sampling.model_dump(include=set(FURTHER))
        assert sampling == {**FURTHER, "top_k": 7 if name == "extractor" else 5}
        assert role.thinking == "always"


@pytest.mark.parametrize("keep", [[], ["thinking"], ["prompts"], ["thinking", "prompts"]])
def test_what_the_job_keeps_is_kept_beside_the_rows_of_the_stage(arguments, keep):
    given, folder = arguments(runtime={"keep": keep})
    assert given["keep"] == KeepSettings(folder.at("kept"), "thinking" in keep, "prompts" in keep)

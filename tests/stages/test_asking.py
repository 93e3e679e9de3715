"""What stages that ask language models take from the configuration."""

import pytest

from drp_ray.config import Model
from drp_ray.stages.asking import thinking_of


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

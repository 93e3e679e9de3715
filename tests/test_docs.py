"""What the README says is true of the code."""

import asyncio
import re
from pathlib import Path

from pydantic import BaseModel

from drp_ray.config import Config, Model
from drp_ray.methods.base import METHODS, UserContext
from drp_ray.prompts.pack import PromptPack

README = (Path(__file__).parents[1] / "README.md").read_text()


def documented_keys() -> set[str]:
    """The keys of the configuration table; `.x` stands for a sibling of the key before it."""
    keys: set[str] = set()
    table = README.partition("## Configuration")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE):
        section = ""
        for key in re.findall(r"`([^`]+)`", row):
            name = f"{section}{key}" if key.startswith(".") else key
            section = name.rpartition(".")[0]
            keys.add(name)
    return keys


def existing_keys(section: type[BaseModel], before: str = "") -> set[str]:
    keys = set()
    for name, field in section.model_fields.items():
        if name == "models":
            keys |= existing_keys(Model, "models.NAME.")
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys |= existing_keys(field.annotation, f"{before}{name}.")
        else:
            keys.add(f"{before}{name}")
    return keys


def test_every_setting_is_in_the_table_and_no_other():
    roles = {"extractor", "validator", "summarizer", "generator", "judge"}
    existing = {
        key for key in existing_keys(Config) if not (key.startswith("sampling.") and key.split(".")[1] in roles)
    }
    assert documented_keys() == existing


def test_the_example_of_a_method_works():
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    known = set(METHODS)
    exec(example, {})
    (name,) = set(METHODS) - known
    asked = []

    async def ask(role, prompt, marker):
        asked.append(role)
        assert prompt.messages() and marker == ("Summary" if role == "summarizer" else "Review")
        return "a text"

    review = {
        "item_id": "i",
        "item_title": "Item",
        "item_description": None,
        "rating": 4.0,
        "title": "T",
        "timestamp": 1,
    }
    user = UserContext("u", review, [{**review, "text": f"text {n}"} for n in range(5)], [])
    try:
        written = asyncio.run(METHODS[name].write(user, ask, PromptPack.load()))
    finally:
        del METHODS[name]
    assert (written.summary, written.prediction) == ("a text", "a text")
    assert asked == ["summarizer", "generator"]

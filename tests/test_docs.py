"""What the README and the other documents say is true of the code."""

import asyncio
import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import BaseModel

from drp_ray.config import Config, Evaluation, Judge, Model, Replicas, Selection
from drp_ray.engines import ModelSpec, Sampling
from drp_ray.evaluation.metrics.base import METRICS, open_metrics, score_rows, scores_schema
from drp_ray.job import plan
from drp_ray.methods.base import DIFFERENCES, METHODS, UserContext
from drp_ray.prompts.pack import PromptPack
from drp_ray.stages.order import STAGES
from drp_ray.stages.strategies.base import STRATEGIES
from tests.job.test_pinned_fingerprints import plan_of
from tests.test_imports import LAYERS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PLACES = "drp_ray|tests|docs|jobs|benchmarks|requirements"


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
        elif section is Evaluation and name == "judge":
            keys |= existing_keys(Judge, "evaluation.judge.")
        elif field.annotation is Replicas:
            keys.add(f"{before}{name}")
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


@pytest.fixture
def registries():
    """What an example registers is gone after its test."""
    before = [(registry, dict(registry)) for registry in (METHODS, DIFFERENCES, METRICS, STRATEGIES)]
    yield
    for registry, entries in before:
        registry.clear()
        registry.update(entries)


def recipe(heading: str) -> dict[str, object]:
    """What the example below a heading of CONTRIBUTING.md defines."""
    section = CONTRIBUTING.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    defined: dict[str, object] = {"__name__": "example"}
    exec(re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1), defined)
    return defined


FIGURE = re.compile(r"^\| .* \| ([\d.]+) \| `([\w.]+)` `([^`]+)` \|$", re.MULTILINE)
"""A row of the README's table of figures: the figure, the result file, and the path of keys in its figures."""


def result_of(file, path):
    value = json.loads((ROOT / "benchmarks" / "results" / file).read_text())["figures"]
    for key in path.split("/"):
        value = value[key]
    return value


def test_every_figure_of_the_readme_is_that_of_its_result_file():
    rows = re.findall(r"^\|.*\|$", README.partition("## Figures")[2].partition("\n## ")[0], re.MULTILINE)
    figures = FIGURE.findall("\n".join(rows))
    assert len(figures) == len(rows) - 2, "every row below the head has a figure and its place"
    for shown, file, path in figures:
        decimals = len(shown.partition(".")[2])
        assert f"{result_of(file, path):.{decimals}f}" == shown, path


def test_the_tables_of_scaling_are_those_of_their_result_files():
    text = (ROOT / "docs" / "scaling.md").read_text()
    for ratio in result_of("barriers.json", "ratios").values():
        assert f"| {ratio:.2f} |" in text
    for size in ("0.44", "1"):
        for name, variant in result_of("prefix_reuse.json", f"{size}/variants").items():
            assert f" {variant['cached']:.3f} |" in text, (size, name)


def test_what_scaling_says_of_a_gpu_is_what_was_measured():
    text = (ROOT / "docs" / "scaling.md").read_text()
    for way in result_of("gpu_llm.json", "64 sequences").values():
        assert f"| {way['tokens_per_s']:,.0f} | {way['cached']:.2f} |" in text
    rounds = result_of("gpu_llm.json", "ratios/rounds take at least")
    assert f"at least {rounds:.1f} times as long" in text
    assert f"({result_of('gpu_llm.json', 'kv_tokens'):,} tokens)" in text


def test_full_yelp_and_replicas_are_as_they_were_measured():
    text = (ROOT / "docs" / "scaling.md").read_text()
    tenth, whole = (
        {stage["stage"]: stage for stage in result_of("full_yelp.json", f"scale {scale}/stages")}
        for scale in ("0.1", "1")
    )
    for name in ("retrieved", "comparisons", "differences", "scores"):
        figures = tenth[name]["seconds"], whole[name]["seconds"], whole[name]["cpu_seconds"]
        assert f"| {name} | " + " | ".join(f"{figure:.0f}" for figure in figures) in text
    assert f"| in all | {tenth['total']['seconds']:.0f} | {whole['total']['seconds']:.0f} |" in text
    for run in result_of("replicas.json", "run"):
        assert f"| {run['replicas']} | {run['of_bound']:.2f} |" in text, run["replicas"]


def test_the_table_of_reuse_is_that_of_its_result_file():
    text = (ROOT / "docs" / "reuse.md").read_text()
    yelp, sample = result_of("growth.json", "yelp"), result_of("growth.json", "sample")
    assert yelp.keys() == sample.keys() and len(yelp) == 5
    for name in yelp:
        cells = [of[name][stage] for of in (yelp, sample) for stage in ("differences", "predictions")]
        assert any(
            [f"{cell:.2f}" for cell in cells] == row.replace("*", "").split(" | ")[1:] for row in rows_of(text)
        ), name


def rows_of(text: str) -> list[str]:
    return [row.strip("| ") for row in text.splitlines() if row.startswith("|")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_a_document_names_are_there(document):
    text = document.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    named = re.findall(rf"`((?:{PLACES})/[\w./-]+)`", text)
    # The changelog says what there was.
    missing = [link for link in links if not (document.parent / link).exists()]
    if document.name != "CHANGELOG.md":
        missing += [path for path in named if not (ROOT / path).exists()]
    assert missing == []


def test_the_table_of_layers_is_the_one_that_is_asserted():
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", ARCHITECTURE, re.MULTILINE)
    layers: dict[int, set[str]] = {}
    for number, names in rows:
        layers.setdefault(int(number), set()).update(name.rstrip("/") for name in re.findall(r"`([^`]+)`", names))
    assert [layers[number] for number in sorted(layers)] == [set(layer) for layer in LAYERS if layer != {"__main__"}]


def test_the_table_of_stages_has_all_in_their_order():
    table = ARCHITECTURE.partition("| stage | one row |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [stage.name for stage in STAGES]


def test_the_recipe_of_a_method_works(registries):
    recipe("Add a method")
    asked = []

    async def ask(role, prompt, marker=None):
        asked.append((role, prompt.messages()[1]["content"]))
        return "a text"

    item = {"item_id": "i", "item_title": "Item", "item_description": None, "title": "T", "rating": 4.0}
    review = {**item, "text": "words", "timestamp": 1}
    comparison = {"title": "Item", "description": None, "review": review, "representatives": [review]}
    pack = PromptPack.load()
    found = asyncio.run(DIFFERENCES["free"].differ(comparison, ask, pack, ("writing",)))
    user = UserContext("u", item, [review], [{"item_title": "Item", "text": found.extracted}])
    written = asyncio.run(METHODS["free"].write(user, ask, pack))
    assert [role for role, _ in asked] == ["extractor", "summarizer", "generator"]
    assert "Writing style" not in asked[0][1]
    assert (written.summary, written.prediction) == ("a text", "a text")


def test_the_recipe_of_a_metric_works(registries, tmp_path):
    recipe("Add a metric")
    length = next(metric for metric in open_metrics(Evaluation(), tmp_path) if metric.name == "length")
    rows = score_rows([length], ["two words", None, "one"], ["four words in all", "none", "two words"])
    assert [row["length"] for row in rows] == [0.5, None, 0.5]
    assert length.aggregate({"length": 1.0}, 2) == 0.5
    assert scores_schema().names[-1] == "length"


def test_the_recipe_of_an_engine_works():
    engine = recipe("Add an engine")["Echo"](ModelSpec(engine="example:Echo", id="any"))

    async def call():
        await engine.start()
        completion = await engine.complete([{"role": "user", "content": "the end of it"}], Sampling(max_tokens=2))
        await engine.close()
        return completion

    completion = asyncio.run(call())
    assert (completion.text, completion.prompt_tokens, completion.completion_tokens) == ("of it", 4, 2)


def test_the_recipe_of_a_stage_works(tmp_path, monkeypatch):
    lengths = recipe("Add a stage")["LENGTHS"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan, "STAGES", (*STAGES, lengths))
    stages = plan_of("quickstart", "rag").stages
    assert list(stages)[-1] == "lengths"
    assert stages["lengths"].made_from["inputs"] == {"predictions": stages["predictions"].fingerprint}
    predictions = pa.table({"user_id": ["a", "b"], "prediction": ["two words", None]})
    written = asyncio.run(lengths.make(None).work("part-00000.parquet", predictions, None))
    assert written.to_pylist() == [{"user_id": "a", "words": 2}, {"user_id": "b", "words": None}]


def test_the_recipe_of_a_strategy_works(registries):
    recipe("Add a selection strategy")
    reviews = [{"user_id": f"u{time}", "text_id": f"t{time}", "timestamp": time} for time in (3, 9, 5, 7)]
    chosen = STRATEGIES["newest"]("i", reviews, {}, Selection(k=2))(1)
    assert chosen.cluster == -1
    assert [reviews[one.position]["timestamp"] for one in chosen.representatives] == [7, 5]

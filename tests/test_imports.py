"""Modules import only from the layers below them, and the heavy libraries wait until they are needed."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import drp_ray

PACKAGE = Path(drp_ray.__file__).parent

LAYERS = (
    {"errors", "schema"},
    {"storage", "job_yaml"},
    {"config"},
    {"inputs", "console"},
    {"engines"},
    {"prompts", "running", "evaluation"},
    {"llm"},
    {"methods"},
    {"stages"},
    {"job", "data", "embedding"},
    {"viewer", "planning"},
    {"cli", "__init__"},
    {"__main__"},
)
"""Folders and modules of the package, the lowest first; those of one layer do not know each other."""

EACH_ALONE = """
import importlib, pkgutil, sys
import drp_ray
for module in list(pkgutil.walk_packages(drp_ray.__path__, "drp_ray.")):
    if module.name == "drp_ray.__main__":
        continue
    for name in [name for name in sys.modules if name.split(".")[0] == "drp_ray"]:
        del sys.modules[name]
    importlib.import_module(module.name)
    heavy = {"torch", "vllm", "transformers", "sentence_transformers"} & set(sys.modules)
    assert not heavy, f"{module.name} imports {heavy}"
"""


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name without `drp_ray.`; a folder by its own."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return found


def imported_by(path: Path, known: dict[str, Path]) -> set[str]:
    """The package's modules that a module imports anywhere: at its head, in a function, or for types only."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "drp_ray":
            module = (node.module or "").removeprefix("drp_ray").removeprefix(".")
            for alias in node.names:
                below = f"{module}.{alias.name}".removeprefix(".")
                found.add(below if below in known else module)
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("drp_ray.")]
            found |= {name.removeprefix("drp_ray.") for name in names}
    return found - {""}


def test_modules_import_from_lower_layers_only():
    known = modules()
    height = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    assert set(height) == {name.split(".")[0] for name in known}
    wrong = [
        f"{name} imports {target}"
        for name, path in sorted(known.items())
        for target in sorted(imported_by(path, known))
        if (here := name.split(".")[0]) != (there := target.split(".")[0]) and height[there] >= height[here]
    ]
    assert wrong == []


def test_no_two_modules_import_each_other():
    known = modules()
    # A folder's own file imports all of its modules where these register themselves; they import nothing from it.
    graph = {name: imported_by(path, known) - {name} for name, path in known.items()}
    TopologicalSorter(graph).prepare()


def test_every_module_can_be_imported_first_and_none_imports_torch_or_vllm():
    done = subprocess.run([sys.executable, "-c", EACH_ALONE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("drp_ray", {"BadInput", "JobFailed", "open"}),
        ("drp_ray.methods", {"Ask", "Extracted", "UserContext", "Written", "differences", "method"}),
        ("drp_ray.engines", {"Completion", "Engine", "Message", "ModelSpec", "Sampling", "make_engine"}),
        ("drp_ray.evaluation", {"Metric", "Scores", "metric"}),
        ("drp_ray.embedding", {"Embedder", "make_embedder", "text_id"}),
        ("drp_ray.stages.strategies", {"Chosen", "Representative", "others_of", "strategy"}),
        ("drp_ray.prompts", {"PERSONAL_REVIEW", "PROFILE_SUMMARY", "Prompt", "PromptPack", "Templates"}),
    ],
)
def test_what_extensions_start_from_is_exported(module, names):
    imported = __import__(module, fromlist=["__all__"])
    assert names <= set(imported.__all__)
    assert all(hasattr(imported, name) for name in imported.__all__)


def test_users_engines_and_embedders_find_what_they_imported_before():
    from drp_ray.embedding import Embedder, make_embedder, text_id
    from drp_ray.engines import base
    from drp_ray.stages import embedder

    assert (Embedder, make_embedder, text_id) == (embedder.Embedder, embedder.make_embedder, embedder.text_id)
    before = "Completion Engine EngineDied Message ModelNotLoaded ModelSpec PromptTooLong RequestRefused Sampling"
    assert all(hasattr(base, name) for name in before.split())

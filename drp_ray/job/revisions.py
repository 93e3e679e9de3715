"""Which commit of the hub a model's name stands for: looked up once a run, kept in `run.json`, used when it goes on.

Without that, a model that its authors change would continue the results of the earlier one under the same fingerprint.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from drp_ray.config import Config, judging_models
from drp_ray.engines.embedder import SENTENCE_TRANSFORMERS
from drp_ray.inputs.packaged_model import PACKAGE

HUB_TIMEOUT_S = 10.0

Revisions = Mapping[str, str | None]
"""The commit of every hub id that a job names without a revision; None where the hub could not be asked."""


def unpinned_models(config: Config) -> list[str]:
    """The hub ids that a configuration names without a revision, for engines that load them."""
    found = [model.id for model in config.models.values() if model.engine == "vllm" and model.revision is None]
    embedding = config.embedding
    if embedding.engine == SENTENCE_TRANSFORMERS and embedding.revision is None:
        found.append(embedding.model)
    return sorted({name for name in found if not name.startswith((PACKAGE, ".", "/", "~")) and not Path(name).is_dir()})


def look_up(config: Config, recorded: Revisions | None) -> dict[str, str | None]:
    """The commits of the unpinned models: as a run recorded them, else as the hub says now.

    A run that could not ask the hub at its start stays without: another commit would be another result. A judge that
    was not in the run before is looked up when it comes.
    """
    names = unpinned_models(config)
    if recorded is None:
        return {name: commit_on_hub(name) for name in names}
    later = {config.models[name].id for name in judging_models(config)} - recorded.keys()
    return {name: commit_on_hub(name) if name in later else recorded.get(name) for name in names}


def pinned(config: Config, revisions: Revisions) -> Config:
    """The configuration with the commits filled in."""
    models = {
        name: model.model_copy(update={"revision": revisions[model.id]})
        if model.engine == "vllm" and model.revision is None and revisions.get(model.id)
        else model
        for name, model in config.models.items()
    }
    embedding = config.embedding
    if embedding.engine == SENTENCE_TRANSFORMERS and embedding.revision is None and revisions.get(embedding.model):
        embedding = embedding.model_copy(update={"revision": revisions[embedding.model]})
    return config.model_copy(update={"models": models, "embedding": embedding})


@cache
def commit_on_hub(name: str, endpoint: str | None = None) -> str | None:
    """The commit that the hub serves now; None where it cannot be reached or does not know the model."""
    # Imported here: it takes a third of a second, which a job without hub models need not pay.
    from huggingface_hub import HfApi

    try:
        return HfApi(endpoint=endpoint).model_info(name, timeout=HUB_TIMEOUT_S).sha
    except Exception:  # no network, offline mode, unknown to the hub: its client raises what its HTTP library does
        return None

"""Tokens a second of the differences stage, over the same engine given all the same prompts at once.

    python -m benchmarks.llm_stage [--users 64] [--model FOLDER_OR_ID] [--gpus 0] [--max-tokens 64] [--repeats 3]
                                   [--beside-ray] [--concurrency N]

The stage runs as in any job: Ray Data, an engine in an actor, rows in parts, calls that wait for each other (the
validation needs the extraction). The other side has none of that: the prompts that the stage asked, as independent
requests, all at once. Both are timed from the first call to the end (of the last call; for the stage, of the last
commit), engines warm, prefix caches empty. The two take turns, and the ratio is the median of those of the pairs.

On a machine with few cores Ray's processes take theirs from the engine: with `--beside-ray` an idle Ray is there for
the other side too, and what is left is the cost of the stage.
"""

import argparse
import asyncio
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml

from benchmarks.record import RESULTS, read_figures, write_result
from drp_ray.data.sample_files import write_sample
from drp_ray.data.tiny_model import build_tiny_model
from drp_ray.engines.base import Completion, Message, ModelSpec, Sampling
from drp_ray.engines.vllm import VllmEngine
from drp_ray.running.cluster import connect
from drp_ray.storage.folder import LocalFolder

QUICKSTART = Path(__file__).parents[1] / "jobs" / "quickstart.yaml"
LOG = "DRP_RAY_BENCHMARK_CALLS"
USERS = 64
RESULT = RESULTS / "llm_stage.json"


class WarmEngine(VllmEngine):
    """vLLM that has answered once when it is started: the first reply on a CPU waits seconds for a C++ compiler."""

    async def start(self) -> None:
        """Load the model and answer."""
        await super().start()
        hello: list[Message] = [{"role": "user", "content": "Hello"}]
        await VllmEngine.complete(self, hello, Sampling(temperature=0.6, top_p=0.95, max_tokens=2))


class RecordingEngine(WarmEngine):
    """Writes down every call."""

    async def complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        """Answer a chat and append it to the log."""
        began = time.time()
        completion = await super().complete(messages, sampling)
        with Path(os.environ[LOG]).open("ab") as log:
            pickle.dump((messages, sampling, began, _tokens(completion), completion.cached_tokens), log)
        return completion


def main() -> None:
    """Measure, and print the ratio last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--model", default=None, help="a hub id or a folder; default: the tiny random model")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--beside-ray", action="store_true")
    parser.add_argument("--concurrency", type=int, help="rows in flight (models.NAME.concurrency); no figure is kept")
    arguments = parser.parse_args()
    ratios = []
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as scratch:
            ratios.append(measure(arguments, Path(scratch)))
    print(f"ratio {statistics.median(ratios):.2f} (of {', '.join(f'{ratio:.2f}' for ratio in ratios)})")
    if arguments.concurrency is None:
        where = "beside_ray" if arguments.beside_ray else "alone"
        keep(where if arguments.users == USERS else f"{where}_{arguments.users}_users", ratios)


def keep(name: str, ratios: list[float]) -> None:
    """Put the ratio beside that of the other way to measure it."""
    figures = read_figures("llm_stage") if RESULT.exists() else {"ratios": {}, "range": {}}
    figures["ratios"][name] = round(statistics.median(ratios), 2)
    figures["range"][name] = [round(min(ratios), 2), round(max(ratios), 2)]
    write_result(RESULT, figures)


def measure(arguments: argparse.Namespace, folder: Path) -> float:
    """Run the stage, then its prompts at once; the ratio of their rates."""
    write_sample(LocalFolder(folder / "sample"), arguments.users, seed=0)
    model = arguments.model or str(build_tiny_model(folder / "model"))
    settings = settings_of(arguments, folder, model)
    calls, stage_rate = rate_of_stage(folder, settings)
    spec = settings["models"]["llm"]
    with connect(num_cpus=None) if arguments.beside_ray else nullcontext():
        at_once, cached = asyncio.run(rate_at_once(calls, ModelSpec(engine="vllm", id=model, **_engine_settings(spec))))
    print(f"{len(calls):,} calls of {arguments.users} users, {sum(call[3] for call in calls):,} tokens, {model}")
    print(
        f"stage {stage_rate:,.0f} tokens/s ({sum(call[4] for call in calls):,} cached), "
        f"all prompts at once {at_once:,.0f} tokens/s ({cached:,} cached)"
    )
    return stage_rate / at_once


def settings_of(arguments: argparse.Namespace, folder: Path, model: str) -> dict[str, Any]:
    """The quickstart with the recording engine."""
    settings: dict[str, Any] = yaml.safe_load(QUICKSTART.read_text())
    settings |= {"dataset": str(folder / "sample"), "root": str(folder / "results")}
    settings["models"]["llm"] |= {"engine": f"{RecordingEngine.__module__}:RecordingEngine", "id": model}
    settings["models"]["llm"] |= {"num_gpus": arguments.gpus}
    if arguments.concurrency is not None:
        settings["models"]["llm"]["concurrency"] = arguments.concurrency
    settings["sampling"] = {"max_tokens": arguments.max_tokens}
    return settings


def rate_of_stage(folder: Path, settings: dict[str, Any]) -> tuple[list[Any], float]:
    """Run the job up to the differences; the calls that were made, and tokens a second."""
    job, log = folder / "job.yaml", folder / "calls"
    job.write_text(yaml.safe_dump(settings))
    environment = {**os.environ, LOG: str(log), "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "drp_ray"]
    subprocess.run([*command, "run", str(job), "--until", "differences"], check=True, env=environment)
    where = subprocess.run(
        [*command, "where", str(job), "differences"], check=True, env=environment, capture_output=True, text=True
    )
    calls = read_calls(log)
    last_commit = max(path.stat().st_mtime for path in Path(where.stdout.strip()).glob("part-*"))
    return calls, sum(call[3] for call in calls) / (last_commit - min(call[2] for call in calls))


def read_calls(log: Path) -> list[Any]:
    """The logged calls, in the order in which they ended."""
    calls = []
    with log.open("rb") as file:
        while file.peek(1):
            calls.append(pickle.load(file))
    return calls


async def rate_at_once(calls: list[Any], spec: ModelSpec) -> tuple[float, int]:
    """Ask everything at once; tokens a second, and cached tokens."""
    engine = WarmEngine(spec)
    await engine.start()
    began = time.time()
    completions = await asyncio.gather(*(engine.complete(call[0], call[1]) for call in calls))
    seconds = time.time() - began
    await engine.close()
    cached = sum(completion.cached_tokens for completion in completions)
    return sum(_tokens(completion) for completion in completions) / seconds, cached


def _engine_settings(model: dict[str, Any]) -> dict[str, Any]:
    return {"max_model_len": model["max_model_len"], "engine_args": model["engine_args"]}


def _tokens(completion: Completion) -> int:
    return completion.prompt_tokens + completion.completion_tokens


if __name__ == "__main__":
    # The module that engines are made from must have one name in all processes.
    from benchmarks import llm_stage

    llm_stage.main()

"""This package over the papers' released procedure: seconds of preparation, tokens a second, seconds of the whole job.

    python -m benchmarks.against_reference [--raw FOLDER | --sample] [--users N] [--n 8] [--k 4] [--share 0.05]
                                           [--parts preparation llm] [--model ID] [--max-tokens 256] [--repeats 3]
                                           [--threads 1] [--shape 7B [--reply-tokens 300]]

Both sides run on the same users, with the same embedder, engine, prompts and sampling, each by a command of its own
that is timed from its start to its end; they take turns, and a ratio is the median of those of the turns.
`benchmarks/reference.py` says what the released procedure does. Where the whole of its preparation would take too long
a share of its (user, item) pairs is prepared, and the rest is reckoned: embedding by encoded text, clustering by pair.

CPU seconds stand beside: where other work shares the cores, threads that wait for each other after every layer lose
most of their time, so give the reference one (`--threads 1`) and read `preparation_cpu`.

With `--shape` both sides use one GPU: a language model of a real shape and an embedding model with random weights
(`benchmarks/gpu_model.py`), and reviews as long as Amazon's.

Before a ratio is kept it is asserted that both sides made the same rows: the representatives of every pair that was
prepared, and every prompt of all four kinds. For the prompts the job's replies are played back to the reference, which
then must ask what the job asked, and end with the job's predictions.
"""

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

import drp_ray
from benchmarks import reference
from benchmarks.gpu_embedding import texts_of_amazon_length
from benchmarks.gpu_model import CONTEXT, SHAPES, write_embedding_model, write_language_model
from benchmarks.prepare import CUTS, QUICKSTART, build_dataset
from benchmarks.record import RESULTS, write_result
from drp_ray.config import Config, Role
from drp_ray.data.sample_files import write_sample
from drp_ray.data.tiny_model import build_tiny_model
from drp_ray.engines.base import Completion, Message, Sampling
from drp_ray.engines.vllm import VllmEngine
from drp_ray.prompts.pack import PromptPack
from drp_ray.prompts.prompt import Prompt
from drp_ray.storage.folder import LocalFolder

ROOT = Path(__file__).parents[1]
RAW = ROOT.parent / "shared" / "data" / "digital_music"
LOG = "DRP_RAY_BENCHMARK_CALLS"
LOOK_EVERY_S = 0.5
UNLIKE_ON_GPU = 0.05
"""Of pairs that may have other representatives: vectors of random weights lie close, and batches round otherwise."""
RATIOS = ("preparation", "preparation_cpu", "tokens_per_s", "whole", "whole_cpu")


@dataclass(frozen=True)
class Call:
    """One call that the job made."""

    messages: list[Message]
    reply: str
    began: float
    ended: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int

    @property
    def tokens(self) -> int:
        """Of prompt and reply together."""
        return self.prompt_tokens + self.completion_tokens


class RecordingEngine(VllmEngine):
    """vLLM that writes down every call."""

    async def complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        """Answer a chat and append it to the log."""
        began = time.time()
        done = await super().complete(messages, sampling)
        call = (messages, done.text, began, time.time(), done.prompt_tokens, done.cached_tokens, done.completion_tokens)
        with Path(os.environ[LOG]).open("ab") as log:
            pickle.dump(call, log)
        return done


@dataclass
class Replay:
    """Answers as the job's engine did, and notes what was asked."""

    replies: dict[str, str]
    asked: set[str] = field(default_factory=set)

    def generate(self, role: Role, prompts: Sequence[Prompt]) -> list[str | None]:
        """The job's replies; a prompt that is not among the job's, however short, has none."""
        return [self._reply(prompt) for prompt in prompts]

    def _reply(self, prompt: Prompt) -> str | None:
        shorter: Prompt | None = prompt
        while shorter is not None:
            key = json.dumps(shorter.messages_for_model())
            if key in self.replies:
                self.asked.add(key)
                return reference.answer_of(self.replies[key])
            shorter = shorter.shorter()
        return None


@dataclass(frozen=True)
class Side:
    """What one command took: seconds from its start to its end, CPU seconds of it and all its children."""

    seconds: float
    cpu_seconds: float


def main() -> None:
    """Measure the turns, check that the rows are equal, print and keep the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--raw", type=Path, default=RAW, help="raw Amazon reviews with their meta file")
    source.add_argument("--sample", action="store_true", help="the generated sample instead")
    parser.add_argument("--users", type=int, help="predict for so many users; default: all")
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--share", type=float, default=0.05, help="of the pairs that the reference prepares")
    parser.add_argument("--parts", nargs="+", default=["preparation"], choices=["preparation", "llm"])
    parser.add_argument("--model", default="package:drp_ray", help="a hub id, a folder, package:NAME, or 'tiny'")
    parser.add_argument("--shape", choices=list(SHAPES), help="a model of this shape on a GPU, and long reviews")
    parser.add_argument("--reply-tokens", type=int, default=300, help="of the mean reply of a model of a shape")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of the reference's embedding and clustering; default: all cores")
    parser.add_argument("--name", default="against_reference", help="the result file's name")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        settings = settings_of(arguments, Path(scratch))
        turns = [one_turn(arguments, settings, Path(scratch) / f"turn{turn}") for turn in range(arguments.repeats)]
    figures = summed_up(turns)
    for name, value in figures["ratios"].items():
        print(f"{name}: {value:.2f} (of {', '.join(f'{turn[name]:.2f}' for turn in turns)})")
    write_result(RESULTS / f"{arguments.name}.json", figures)


def settings_of(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The quickstart's models on the dataset that is asked for, without scores' controls and the report."""
    if arguments.sample:
        dataset = folder / "sample"
        write_sample(LocalFolder(dataset), arguments.users or 48, seed=0)
    else:
        build_dataset(arguments.raw, folder / "real", CUTS["five"])
        dataset = folder / "real" / "test"
    settings: dict[str, Any] = yaml.safe_load(QUICKSTART.read_text())
    settings |= {"dataset": str(dataset), "report": False, "evaluation": {}}
    settings |= {"retrieval": {"n": arguments.n}, "selection": {"k": arguments.k}}
    settings |= {"users": {"limit": arguments.users}}
    if arguments.shape:
        return settings | on_gpu(arguments, folder, dataset)
    model = str(build_tiny_model(folder / "tiny")) if arguments.model == "tiny" else arguments.model
    settings["models"]["llm"] |= {"id": model}
    if arguments.model == "tiny":
        settings["models"]["llm"] |= {"max_model_len": 8_192}
    settings["sampling"] |= {"max_tokens": arguments.max_tokens}
    return settings


def on_gpu(arguments: argparse.Namespace, folder: Path, dataset: Path) -> dict[str, Any]:
    """Models of real shapes that take a GPU in turn, for reviews that are made as long as Amazon's."""
    lengthen(dataset)
    embedder = write_embedding_model(folder / "embedder")
    model = write_language_model(folder / "models" / arguments.shape, arguments.shape, arguments.reply_tokens)
    return {
        "embedding": {"model": str(embedder), "replicas": 1, "num_gpus": 1},
        "models": {
            "llm": {"id": str(model), "num_gpus": 1, "max_model_len": CONTEXT, "engine_args": {"load_format": "dummy"}}
        },
        "sampling": {"temperature": 0.8, "max_tokens": arguments.max_tokens},
    }


def lengthen(dataset: Path) -> None:
    """Put texts as long as Amazon's reviews in place of those of a dataset's profiles; targets stay."""
    for number, path in enumerate(sorted(dataset.glob("users/*.parquet"))):
        table = pq.read_table(path)
        users = table.to_pylist()
        texts = iter(texts_of_amazon_length(sum(len(user["profile"]) for user in users), seed=number))
        for user in users:
            user["profile"] = [{**review, "text": next(texts)} for review in user["profile"]]
        pq.write_table(pa.Table.from_pylist(users, schema=table.schema), path)


def one_turn(arguments: argparse.Namespace, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run the job and then the reference, and compare."""
    folder.mkdir()
    settings = {**settings, "root": str(folder / "results")}
    job_side, calls, job = run_job(settings, folder, "predictions" if "llm" in arguments.parts else "comparisons")
    rows = job.table("comparisons").to_pylist()
    chosen = {f"{row['user_id']} {row['item_id']}": [one["user_id"] for one in row["representatives"]] for row in rows}
    (folder / "of_job.json").write_text(json.dumps(chosen))
    config = Config.model_validate(settings)
    (folder / "configuration.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "benchmarks.reference", "configuration.json", "reference.json"]
    command += ["--share", str(arguments.share), "--parts", *arguments.parts]
    reference_side = timed(command, folder, {}, arguments.threads)
    found = json.loads((folder / "reference.json").read_text())
    turn: dict[str, Any] = {"job": vars(job_side), "reference": vars(reference_side), "share": arguments.share}
    turn["found"] = {name: value for name, value in found.items() if isinstance(value, int | float)}
    turn |= rates(calls, job, found) if "llm" in arguments.parts else {}
    turn |= ratios_of_seconds(turn, arguments.parts)
    print({name: value for name, value in turn.items() if isinstance(value, float)}, flush=True)
    turn["unlike"] = check_representatives(found["chosen"], chosen, UNLIKE_ON_GPU if arguments.shape else 0.0)
    if "llm" in arguments.parts:
        check_prompts(calls, chosen, config, job.predictions().to_pylist())
    return turn


def run_job(settings: dict[str, Any], folder: Path, until: str) -> tuple[Side, list[Call], Any]:
    """Run the job by its command; what it took, its calls and the job."""
    path = folder / "job.yaml"
    recording = {"engine": f"{RecordingEngine.__module__}:RecordingEngine"}
    models = {"llm": {**settings["models"]["llm"], **recording}}
    path.write_text(yaml.safe_dump({**settings, "models": models}))
    side = timed([sys.executable, "-m", "drp_ray", "run", str(path), "--until", until], folder, {LOG: "calls"})
    return side, read_calls(folder / "calls"), drp_ray.open(path)


def timed(command: list[str], folder: Path, environment: dict[str, str], threads: int | None = None) -> Side:
    """Run a command in a folder, where the package and the benchmarks can be imported."""
    variables = {name: str(folder / value) for name, value in environment.items()}
    variables |= {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    began = time.monotonic()
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        watch = CpuWatch(process.pid)
        if process.wait():
            raise SystemExit(f"{' '.join(command)} failed:\n" + (folder / "output").read_text()[-3_000:])
    return Side(time.monotonic() - began, watch.stop())


class CpuWatch:
    """Adds up the CPU time of a process and of all that descend from it, by looking at them now and then."""

    def __init__(self, pid: int) -> None:
        self._process, self._seen = psutil.Process(pid), dict[int, float]()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """The CPU seconds that were seen."""
        self._stopped.set()
        self._thread.join()
        return sum(self._seen.values())

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_EVERY_S):
            try:
                family = [self._process, *self._process.children(recursive=True)]
            except psutil.Error:
                return
            for member in family:
                try:
                    times = member.cpu_times()
                except psutil.Error:  # ended since it was listed
                    continue
                self._seen[member.pid] = times.user + times.system


def read_calls(log: Path) -> list[Call]:
    """The logged calls, in the order in which they ended."""
    calls: list[Call] = []
    if not log.exists():
        return calls
    with log.open("rb") as file:
        while file.peek(1):
            calls.append(Call(*pickle.load(file)))
    return calls


def check_representatives(
    of_reference: dict[str, list[str]], of_job: dict[str, list[str]], most_unlike: float = 0.0
) -> float:
    """Assert that the reference chose for each pair that it prepared whom the job chose; the share of other choices."""
    unlike = [pair for pair, chosen in of_reference.items() if of_job.get(pair) != chosen]
    told = [f"{pair}: {of_reference[pair]}, the job {of_job.get(pair)}" for pair in unlike[:5]]
    assert len(unlike) <= most_unlike * len(of_reference), (
        f"{len(unlike)} of {len(of_reference)} pairs have other representatives: {'; '.join(told)}"
    )
    return len(unlike) / max(1, len(of_reference))


def check_prompts(calls: list[Call], chosen: dict[str, list[str]], config: Config, predictions: list[Any]) -> None:
    """Assert that the reference, given the job's replies, asks what the job asked and ends with its predictions.

    Where the job asked for a row again because a reply could not be used, its first call has the prompt of the one
    before, and what followed from the reply before is asked by the job alone.
    """
    replay = Replay({json.dumps(call.messages): call.reply for call in calls})
    cases, items = reference.load_cases(config)
    reference.set_comparisons(cases, chosen, items)
    reference.write_all(cases, replay, PromptPack.load(), config)
    not_asked = len(replay.replies) - len(replay.asked)
    repeated = len(calls) - len(replay.replies)
    assert not_asked <= repeated, f"the reference did not ask {not_asked} of the job's {len(replay.replies)} prompts"
    written = {row["user_id"]: row["prediction"] for row in predictions if row["status"] == "ok"}
    unlike = [
        case.user["user_id"] for case in cases if written.get(case.user["user_id"], case.prediction) != case.prediction
    ]
    assert not unlike, f"the reference wrote other predictions for {len(unlike)} users, from the same replies"


def rates(calls: list[Call], job: Any, found: dict[str, Any]) -> dict[str, float]:
    """Tokens a second of both sides. The job's seconds are those of its two stages, to the last commit of each."""
    seconds, began = 0.0, min(call.began for call in calls)
    for stage in ("differences", "predictions"):
        ended = max(path.stat().st_mtime for path in Path(job.folder(stage).uri).glob("part-*"))
        seconds += ended - min(call.began for call in calls if call.began >= began)
        began = ended
    job_rate = sum(call.tokens for call in calls) / seconds
    reference_rate = found["tokens"] / found["llm_s"]
    return {
        "job_tokens_per_s": job_rate,
        "reference_tokens_per_s": reference_rate,
        "job_llm_s": seconds,
        "job_tokens": float(sum(call.tokens for call in calls)),
        "job_cached": sum(call.cached_tokens for call in calls) / sum(call.prompt_tokens for call in calls),
        "reference_cached": found["cached_tokens"] / found["prompt_tokens"],
        "tokens_per_s": job_rate / reference_rate,
    }


def ratios_of_seconds(turn: dict[str, Any], parts: list[str]) -> dict[str, float]:
    """The reference's seconds and CPU seconds over the job's: of the whole command, as far as it was run."""
    name = "whole" if "llm" in parts else "preparation"
    of_all = {"seconds": turn["reference"]["seconds"], "cpu_seconds": turn["reference"]["cpu_seconds"]}
    if "preparation" in parts:
        of_all["seconds"] += left_out(turn["found"], "s")
        of_all["cpu_seconds"] += left_out(turn["found"], "cpu_s")
    return {
        "reference_s": of_all["seconds"],
        "reference_cpu_s": of_all["cpu_seconds"],
        name: of_all["seconds"] / turn["job"]["seconds"],
        f"{name}_cpu": of_all["cpu_seconds"] / turn["job"]["cpu_seconds"],
    }


def left_out(found: dict[str, float], unit: str) -> float:
    """What the pairs that were not prepared would have taken: embedding by encoded text, clustering by pair."""
    encodes, pairs = found["encodes_in_all"] / found["encodes"], found["pairs_in_all"] / found["pairs"]
    return found[f"embedding_{unit}"] * (encodes - 1) + found[f"clustering_{unit}"] * (pairs - 1)


def summed_up(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of the ratios, and the turns themselves."""
    names = [name for name in RATIOS if name in turns[0]]
    return {"ratios": {name: statistics.median(turn[name] for turn in turns) for name in names}, "turns": turns}


if __name__ == "__main__":
    # The module that engines are made from must have one name in all processes.
    from benchmarks import against_reference

    against_reference.main()

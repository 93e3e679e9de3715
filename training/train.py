"""Train the writer: `python -m training.train FOLDER`; given again, it goes on where it stopped.

Every step sees new examples, the same ones for the same seed. On a GPU (`--device cuda`) a step has many of them. On a
CPU with bfloat16 instructions two processes share a step's examples, which is quicker than two threads within every
operation.
"""

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from rich.progress import Progress

from training.decoder import Decoder, Shape
from training.examples import World
from training.gpu import Gpu
from training.tokenizer import build_tokenizer
from training.workers import Workers
from training.worlds import training_words

SEED = 20_261_125
TREES_PER_STEP = {"cpu": 4, "cuda": 128}
PROCESSES = 2
"""Those that share a step on a CPU."""

WARM_UP = 40
DECAY_SHARE = 0.4
"""Of the training, its last part, in which the learning rates fall to zero."""

MATRIX_RATE, OTHER_RATE = 0.02, 0.003
CHECKPOINT_EVERY_S = 120.0
CHECKPOINT, TOKENIZER, LOG = "checkpoint.pt", "tokenizer", "log.jsonl"


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where checkpoints, the tokenizer and the log are kept")
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument("--steps", type=int, default=2_400)
    goal.add_argument(
        "--minutes", type=float, help="instead of steps: the time to train, the earlier training included"
    )
    parser.add_argument("--device", choices=TREES_PER_STEP, default="cpu")
    parser.add_argument("--rate", type=float, default=1.0, help="a share of the full learning rates, to go on with")
    arguments = parser.parse_args()
    train(arguments.folder, Goal(arguments.steps, arguments.minutes), arguments.device, arguments.rate)


class Goal(NamedTuple):
    """How long to train: a number of steps, or minutes where these are given."""

    steps: int
    minutes: float | None = None

    def progress(self, run: "Run") -> float:
        """The share of the training that is done; 1 or more at its end."""
        return run.step / self.steps if self.minutes is None else run.trained_s / (60 * self.minutes)


def train(folder: Path, goal: Goal, device: str = "cpu", rate: float = 1.0) -> None:
    """Train until the goal is reached, with what is in the folder as the beginning."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / TOKENIZER).is_dir():
        build_tokenizer(World(training_words()), SEED).save_pretrained(str(folder / TOKENIZER))
    run = Run(folder, Decoder(Shape()).to(device))
    with Progress() as progress, gradients_on(device, run.decoder, folder / TOKENIZER) as gradients:
        bar = progress.add_task("training", total=1.0)
        while (done := goal.progress(run)) < 1:
            progress.update(bar, completed=done)
            run.take_step(gradients, rate * _rate(run.step, done))
        progress.update(bar, completed=1)
    run.save()


def gradients_on(device: str, decoder: Decoder, tokenizer_folder: Path) -> "Workers | Gpu":
    """What computes the gradients of the decoder, which lies on this device."""
    n = TREES_PER_STEP[device]
    if device == "cpu":
        return Workers(decoder, tokenizer_folder, SEED, n, PROCESSES)
    return Gpu(decoder, tokenizer_folder, SEED, n, max(1, (os.cpu_count() or 2) // 2))


class Run:
    """The state of the training: the network, its optimizers, and the number of steps taken."""

    def __init__(self, folder: Path, decoder: Decoder) -> None:
        self.folder, self.decoder = folder, decoder
        self.parameters = list(decoder.parameters())
        self.optimizers = _optimizers(decoder)
        self.step = 0
        self.tokens = 0
        self.trained_s = 0.0
        self.saved_at = time.monotonic()
        if (folder / CHECKPOINT).exists():
            self._load()

    def take_step(self, source: "Workers | Gpu", rate: float) -> None:
        """Learn from the next examples; write the log, and now and then a checkpoint."""
        began = time.monotonic()
        sums = source.sums(self.step)
        for parameter, *gradients in zip(self.parameters, *source.gradients, strict=True):
            parameter.grad = sum(gradients[1:], start=gradients[0]) / sums.weight
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self._update(rate)
        self.step += 1
        self.tokens += sums.tokens
        self.trained_s += time.monotonic() - began
        self._log(sums.loss / sums.weight)
        if time.monotonic() - self.saved_at > CHECKPOINT_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write a checkpoint, whole or not at all."""
        state = {
            "shape": asdict(self.decoder.shape),
            "decoder": self.decoder.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "tokens": self.tokens,
            "trained_s": self.trained_s,
        }
        scratch = self.folder / f".{CHECKPOINT}"
        torch.save(state, scratch)
        scratch.replace(self.folder / CHECKPOINT)
        self.saved_at = time.monotonic()

    def _load(self) -> None:
        state = torch.load(self.folder / CHECKPOINT, map_location="cpu")
        self.decoder.load_state_dict(state["decoder"])
        for optimizer, its_state in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(its_state)
        self.step, self.tokens, self.trained_s = state["step"], state["tokens"], state["trained_s"]

    def _update(self, rate: float) -> None:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["full_rate"]
            optimizer.step()

    def _log(self, loss: float) -> None:
        line = {"step": self.step, "loss": round(loss, 4), "tokens": self.tokens, "trained_s": round(self.trained_s, 1)}
        with (self.folder / LOG).open("a") as log:
            log.write(json.dumps(line) + "\n")


def _optimizers(decoder: Decoder) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, Adam for embeddings, norms and biases."""
    matrices = [each for name, each in decoder.named_parameters() if each.ndim == 2 and "embed" not in name]
    others = [each for name, each in decoder.named_parameters() if each.ndim != 2 or "embed" in name]
    optimizers = [
        torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=0.01),
        torch.optim.Adam(others, lr=OTHER_RATE, betas=(0.9, 0.95)),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["full_rate"] = group["lr"]
    return optimizers


def _rate(step: int, progress: float) -> float:
    """The share of the full learning rate: rising at first, falling to zero at the end."""
    return min(1.0, (step + 1) / WARM_UP, (1 - progress) / DECAY_SHARE)


if __name__ == "__main__":
    main()

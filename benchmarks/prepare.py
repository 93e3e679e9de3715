"""Time from a dataset to `comparisons`, over one plain encoding of the distinct texts that it needs.

    python -m benchmarks.prepare RAW [--repeats 2]

RAW is a folder with raw Amazon reviews (`Digital_Music.jsonl.gz` and its `meta_` file). The job's time is that of
the command line from its start to its end, Ray and the embedding model included; the plain time is that of
`SentenceTransformer.encode` alone, its model loaded. Both take all cores of the machine.

The job pays a fixed time for its processes, so the ratio falls with the number of texts: it is measured on two
datasets, cut from the same reviews with the thresholds in `CUTS`.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import yaml

from benchmarks.record import RESULTS, write_result
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import read_manifest, read_part

QUICKSTART = Path(__file__).parents[1] / "jobs" / "quickstart.yaml"

CUTS = {
    "five": {"min-review-chars": 200, "min-item-reviewers": 5, "min-user-reviews": 5},
    "all": {"min-review-chars": 0, "min-item-reviewers": 2, "min-user-reviews": 2},
}
"""Thresholds of the datasets: at least five long reviews a user and an item, or all that can be used at all."""


def main() -> None:
    """Measure, and print the ratio last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--encode", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.encode:
        print(time_of_encoding(arguments.encode.read_text().split("\0")))
        return
    with tempfile.TemporaryDirectory() as scratch:
        measure(arguments.raw, Path(scratch), arguments.repeats)


def measure(raw: Path, folder: Path, repeats: int) -> None:
    """Run both in turn, several times for each dataset, and compare the medians."""
    figures: dict[str, dict[str, float]] = {"ratios": {}, "texts": {}, "job_s": {}, "encoding_s": {}}
    for cut, thresholds in CUTS.items():
        build_dataset(raw, folder / cut, thresholds)
        jobs, plains, texts = list[float](), list[float](), list[str]()
        for number in range(repeats):
            seconds, texts = time_of_job(folder / cut, f"{cut}{number}")
            jobs.append(seconds)
            plains.append(time_of_encoding_elsewhere(raw, folder, texts))
            print(f"{cut}: {len(texts):,} texts, dataset to comparisons {seconds:.1f} s, encoding {plains[-1]:.1f} s")
        job_s, plain_s = statistics.median(jobs), statistics.median(plains)
        measured = {"ratios": round(job_s / plain_s, 2), "texts": len(texts), "job_s": job_s, "encoding_s": plain_s}
        for name, figure in measured.items():
            figures[name][cut] = figure
        print(f"{cut}: ratio {measured['ratios']:.2f}")
    write_result(RESULTS / "prepare.json", figures)


def build_dataset(raw: Path, folder: Path, thresholds: Mapping[str, int]) -> None:
    """Build a dataset with thresholds that fit so small a fragment of Amazon's reviews."""
    [reviews] = set(raw.glob("*.jsonl.gz")) - set(raw.glob("meta_*"))
    [items] = raw.glob("meta_*.jsonl.gz")
    command = [sys.executable, "-m", "drp_ray", "data", "amazon", "--item-key", "parent_asin", "--out", str(folder)]
    command += ["--reviews", str(reviews), "--meta", str(items), "--holdout", "1", "--min-description-chars", "0"]
    command += ["--min-profile-item-reviewers", "1", "--min-profile-reviews", "1"]
    command += [word for name, value in thresholds.items() for word in (f"--{name}", str(value))]
    subprocess.run(command, check=True, capture_output=True)


def time_of_job(dataset: Path, name: str) -> tuple[float, list[str]]:
    """Run the stages up to `comparisons` into a fresh root; the seconds, and the texts that were embedded."""
    settings = yaml.safe_load(QUICKSTART.read_text())
    settings |= {"name": name, "dataset": str(dataset / "test"), "root": str(dataset.parent / name)}
    job = dataset.parent / f"{name}.yaml"
    job.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "drp_ray", "run", str(job), "--until", "comparisons"]
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.monotonic() - began
    where = subprocess.run(
        [sys.executable, "-m", "drp_ray", "where", str(job), "items"], check=True, capture_output=True, text=True
    )
    return seconds, texts_of(LocalFolder(Path(where.stdout.strip())))


def texts_of(items: LocalFolder) -> list[str]:
    """The distinct review texts of the requested items."""
    manifest = read_manifest(items)
    assert manifest is not None
    rows = [row for part in manifest.parts for row in read_part(items, part.name).rows.to_pylist()]
    return sorted({review["text"] for row in rows for review in row["reviews"]})


def time_of_encoding_elsewhere(raw: Path, folder: Path, texts: list[str]) -> float:
    """`time_of_encoding` in a fresh process."""
    (folder / "texts").write_text("\0".join(texts))
    command = [sys.executable, "-m", "benchmarks.prepare", str(raw), "--encode", str(folder / "texts")]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def time_of_encoding(texts: list[str]) -> float:
    """Encode all texts with the quickstart's model in one call, in this process."""
    from sentence_transformers import SentenceTransformer

    from drp_ray.config import Embedding
    from drp_ray.engines.embedder import locate_model

    settings = Embedding(**yaml.safe_load(QUICKSTART.read_text())["embedding"])
    model = SentenceTransformer(locate_model(settings), device="cpu")
    began = time.monotonic()
    model.encode(texts, show_progress_bar=False)
    return time.monotonic() - began


if __name__ == "__main__":
    main()

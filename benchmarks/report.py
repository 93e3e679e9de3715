"""The report of 48, 2,000 and 28,743 users: its size, how long it is made, and how soon a browser can use it.

    python -m benchmarks.report [--users 48 2000 28743] [--keep FOLDER]

Two made-up runs of Yelp's shape: 8 comparisons a user with 4 representatives each, reviews of 110 words by chance; with
controls, a judge, and an embedding of 384 numbers for each user. A browser (Debian's chromium, headless) opens the file
from the disk three times, each time in a new process: *usable* is when the list stands (`data-ready`), *loaded* the
`load` event, *opens* a click on a user until the page stands (the median and the longest of 20 users), *first search*
from a phrase that one user has until all texts were looked through (a tenth of a second of it waits for more letters),
and *next search* another phrase.
Memory is the largest resident set of the process that builds the file. Look at the load that the first line says: times
are those of a machine that is shared with whatever else runs.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from drp_ray.job.finished import open_groups
from drp_ray.storage.folder import LocalFolder
from drp_ray.viewer.report import ReportOptions, write_report
from tests.viewer.conftest import ARGUMENTS, CHROMIUM
from tests.viewer.made_run import MadeRun

VISITS = 3
OPENED = 20


def main() -> None:
    """Measure each number of users, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[48, 2000, 28743])
    parser.add_argument("--keep", type=Path, help="keep the made-up runs and the reports here")
    parser.add_argument("--build", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        build(*arguments.build)
        return
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, load {load}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as scratch:
        for users in arguments.users:
            measure(arguments.keep or Path(scratch), users)


def measure(folder: Path, users: int) -> None:
    """One number of users."""
    root, page = folder / f"runs-{users}", folder / f"report-{users}.html"
    runs = [str(root / "runs" / name) for name in ("first", "second")]
    if not Path(runs[-1]).exists():
        for name, skill in (("first", 0.0), ("second", 0.02)):
            shape = {"n_users": users, "history": 8, "peers": 4, "words": 110, "rows_per_part": 32}
            evaluated = {"has_controls": True, "has_embeddings": True, "dimensions": 384, "judged": {"judge": 6.0}}
            MadeRun(LocalFolder(root), name, skill=skill, **shape, **evaluated).write()
    command = [sys.executable, "-m", "benchmarks.report", "--build", str(page), *runs]
    print(f"{users:,} users: {subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()}")
    visits = [visit(page) for _ in range(VISITS)]
    words = [f"{name} {statistics.median(each[name] for each in visits):.3f} s" for name in visits[0]]
    print(f"{users:,} users: {', '.join(words)} (medians of {VISITS})", flush=True)


def build(page: str, *runs: str) -> None:
    """Build a report, in a process of its own, and say what that took."""
    began = time.perf_counter(), time.process_time()
    report = write_report(open_groups(runs), Path(page), ReportOptions())
    seconds, of_cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    in_file, megabytes = len(report.chosen.user_ids), Path(page).stat().st_size / 1e6
    print(
        f"{in_file:,} in the file, {megabytes:.1f} MB, made in {seconds:.1f} s ({of_cpu:.1f} of CPU), {memory:.2f} GB"
    )


def visit(page: Path) -> dict[str, float]:
    """Open a report in a new browser; seconds by what was waited for."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.add_init_script(WATCH)
        tab.goto(f"file://{page}", wait_until="load")
        usable, loaded = tab.evaluate("[window.usable, performance.now()]")
        loaded = tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventStart") or loaded
        opened = sorted(tab.evaluate(OPEN, OPENED))
        word = tab.evaluate(WORD)
        found, again = (tab.evaluate(SEARCH, text) for text in (word, word[1:]))
        browser.close()
    return {
        "usable": usable / 1000,
        "loaded": loaded / 1000,
        "opens": statistics.median(opened) / 1000,
        "opens at most": opened[-1] / 1000,
        "first search": found / 1000,
        "next search": again / 1000,
    }


WATCH = """new MutationObserver((_, observer) => {
  if (!document.documentElement?.hasAttribute("data-ready")) return;
  window.usable = performance.now();
  observer.disconnect();
}).observe(document, { attributes: true, subtree: true, attributeFilter: ["data-ready"] });"""

OPEN = """async (number) => {
  const links = [...document.querySelectorAll("[data-user-id]")], times = [];
  for (let each = 0; each < number; each++) {
    const link = links[Math.floor((each * links.length) / number)], began = performance.now();
    link.click();
    while (document.getElementById("user-title")?.textContent !== link.dataset.userId) {
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    document.getElementById("user").getBoundingClientRect();
    times.push(performance.now() - began);
  }
  return times;
}"""

WORD = "document.querySelector('#user .real .prose').textContent.slice(5, 60)"

SEARCH = """async (words) => {
  const field = document.getElementById("search"), list = document.getElementById("list"), began = performance.now();
  field.value = words;
  field.dispatchEvent(new Event("input"));
  while (list.dataset.query !== words.trim().toLowerCase() || list.ariaBusy === "true") {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  if (list.children.length === 0) throw new Error("nothing was found");
  return performance.now() - began;
}"""


if __name__ == "__main__":
    main()

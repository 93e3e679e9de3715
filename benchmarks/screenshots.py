"""The pictures of the report in README.md and docs/report.md, taken from a report of the quickstart.

    drp-ray quickstart --write-only
    drp-ray sweep quickstart.yaml --set 'method=[drp,rag]'
    python -m benchmarks.screenshots .quickstart/results/sample/sweeps/quickstart/report.html

The pictures go to `docs/`, light and dark, with few colours: 400 KB in all are allowed, and more is an error.
"""

import argparse
import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from tests.viewer.conftest import ARGUMENTS, CHROMIUM

DOCS = Path(__file__).parents[1] / "docs"
LIMIT = 400_000
COLOURS = 128
VIEWS = {
    "report-summary": ("", 1280, 860),
    "report-user": ("#user=user-00003", 1280, 860),
}
NARROW = {"report-narrow": ("#user=user-00003", 390, 860)}


def main() -> None:
    """Take all pictures of a report."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    report = parser.parse_args().report.absolute()
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        for scheme in ("light", "dark"):
            views = VIEWS if scheme == "light" else VIEWS | NARROW
            for name, view in views.items():
                (DOCS / f"{name}-{scheme}.png").write_bytes(picture(browser, report, scheme, view))
        browser.close()
    size = sum(path.stat().st_size for path in DOCS.glob("report-*.png"))
    print(f"{size:,} bytes")
    if size > LIMIT:
        sys.exit(f"more than {LIMIT:,}: take fewer colours")


def picture(browser: Any, report: Path, scheme: str, view: tuple[str, int, int]) -> bytes:
    """A view of the report, as PNG."""
    fragment, width, height = view
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(f"file://{report}{fragment}")
    page.wait_for_selector("#user-title" if fragment else "html[data-ready]", state="attached")
    page.wait_for_timeout(300)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    page.close()
    small = io.BytesIO()
    shot.save(small, "PNG", optimize=True)
    return small.getvalue()


if __name__ == "__main__":
    main()

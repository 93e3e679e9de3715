"""The pictures of the report in README.md and docs/report.md, taken from the report of a quickstart.

    drp-ray quickstart /tmp/quickstart
    python -m benchmarks.screenshots /tmp/quickstart/.quickstart/results/sample/runs/quickstart/report.html

The pictures go to `docs/`, light and dark, with few colours: 400 KB in all are allowed, and more is an error. They show
the user of `--user`, or the first of the list where the report has no such user.
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
COLOURS = 256
USER = "user-00003"
DESKTOP, PHONE = (1280, 860), (390, 860)


def main() -> None:
    """Take all pictures of a report."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--user", default=USER)
    arguments = parser.parse_args()
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        for name, user, scheme, size in (
            ("summary-light", None, "light", DESKTOP),
            ("summary-dark", None, "dark", DESKTOP),
            ("user-light", arguments.user, "light", DESKTOP),
            ("user-dark", arguments.user, "dark", DESKTOP),
            ("narrow-dark", arguments.user, "dark", PHONE),
        ):
            page = browser.new_page(viewport=dict(zip(("width", "height"), size, strict=True)), color_scheme=scheme)
            page.goto(arguments.report.absolute().as_uri())
            (DOCS / f"report-{name}.png").write_bytes(picture(page, user))
            page.close()
        browser.close()
    taken = sum(path.stat().st_size for path in DOCS.glob("report-*.png"))
    print(f"{taken:,} bytes")
    if taken > LIMIT:
        sys.exit(f"more than {LIMIT:,}: take fewer colours")


def picture(page: Any, user: str | None) -> bytes:
    """What a page shows, of its summary or of a user, as PNG."""
    page.wait_for_selector("html[data-ready]", state="attached")
    if user is not None:
        users = page.locator("[data-user-id]").evaluate_all("links => links.map((link) => link.dataset.userId)")
        user = user if user in users else users[0]
        page.evaluate("id => { location.hash = `#user=${encodeURIComponent(id)}` }", user)
        page.locator("#user-title", has_text=user).wait_for()
    page.wait_for_timeout(300)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small = io.BytesIO()
    shot.save(small, "PNG", optimize=True)
    return small.getvalue()


if __name__ == "__main__":
    main()

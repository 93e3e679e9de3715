"""A headless Chromium, where there is one."""

import json
import shutil

import pytest

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
)


@pytest.fixture(scope="module")
def browser():
    """The browser, started once for a module: while it runs, no other event loop can in this process."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not shutil.which(CHROMIUM):
        pytest.skip("there is no Chromium here: on Debian, apt-get install chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


class Visit:
    """A page that is open, what it asked for, and what went wrong on it."""

    def __init__(self, browser, address: str, **options) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.problems: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("dialog", lambda dialog: self.problems.append(dialog.message))
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready]", state="attached")
        self.all = self.listed()

    def listed(self) -> list[str]:
        """The users in the list, in its order."""
        return [each.get_attribute("data-user-id") for each in self.page.query_selector_all("[data-user-id]")]

    def open(self, user: str) -> str:
        """Open a user by the list; the text of the user's page."""
        self.page.click(f'[data-user-id="{user}"]')
        return self.opened(user)

    def opened(self, user: str) -> str:
        """The text of the user's page, once it is there."""
        self.page.locator("#user-title", has_text=user).wait_for()
        return self.page.inner_text("#user")

    def search(self, text: str, found: int) -> None:
        """Search, and wait until so many users are found and all texts were looked through."""
        self.page.fill("#search", text)
        query = json.dumps(text.strip().lower(), ensure_ascii=False)
        self.page.wait_for_selector(f"#list[data-query={query}][aria-busy=false]", state="attached")
        assert self.page.inner_text("#count") == f"{found} of {len(self.all)} users"


@pytest.fixture
def visit(browser):
    """Opens pages. At the end no page has asked for anything but itself, and none has had an error."""
    visits: list[Visit] = []

    def open_page(path, fragment: str = "", **options) -> Visit:
        visits.append(Visit(browser, f"file://{path}{fragment}", **options))
        return visits[-1]

    yield open_page
    for each in visits:
        assert each.problems == []
        assert all(request.startswith("file://") and "report" in request for request in each.requests)
        assert len(set(each.requests)) == 1
        each.context.close()

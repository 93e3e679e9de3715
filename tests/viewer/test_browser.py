"""The report in a browser: searched, sorted, filtered, opened, with keys, side by side, and with hostile texts."""

import pytest

from drp_ray.evaluation.analyses.intervals import Draws
from drp_ray.job.analyse import uniqueness
from drp_ray.job.finished import open_run
from drp_ray.job.user_values import group_scores
from drp_ray.storage.folder import LocalFolder
from drp_ray.viewer.choosing import choose
from drp_ray.viewer.user_table import read_user_table
from tests.viewer.made_run import MadeRun
from tests.viewer.pages import group_of, write

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)><!-- \u2028 \u202eabc</p>"
UNUSUAL = "قال إن الكتاب جيد zebra"
LONG = ("a very long text without an end " * 32768).strip()
USERS = [f"user-{number:05d}" for number in range(24)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two runs of the same users, with texts that are hard on a page, and a failed row."""
    root = LocalFolder(tmp_path_factory.mktemp("runs"))
    texts = {"user-00001": HOSTILE, "user-00005": LONG, "user-00006": UNUSUAL}
    options = {"n_users": 24, "texts": texts}
    failed = {"user-00002": "refused by the engine: <b>no</b>"}
    options |= {"has_controls": True, "judged": {"judge": 6.0}}
    differing = {"user-00004": "too long: 9"}
    first = MadeRun(root, "first", failed_differences=differing, has_embeddings=True, **options).write()
    return [first, MadeRun(root, "second", skill=0.1, failed=failed, **options).write()]


@pytest.fixture(scope="module")
def report(folders, tmp_path_factory):
    return write(tmp_path_factory.mktemp("pages") / "report.html", folders)


def scores(folders, run: int, measure: str = "rouge1") -> dict[str, float | None]:
    table = read_user_table(open_run(folders[run]))
    return dict(zip(table.user_ids, table.rows[measure].to_pylist(), strict=True))


def test_it_lists_all_users_and_finds_one_by_its_id(report, visit):
    page = visit(report)
    assert page.listed() == USERS
    page.search("00013", 1)
    assert page.listed() == ["user-00013"]
    page.search("", 24)
    assert page.listed() == USERS


def test_a_word_of_any_text_finds_its_users(report, folders, visit):
    page = visit(report)
    run = open_run(folders[0])
    predictions = [row for part in run.parts("predictions") for row in part.to_pylist()]
    comparisons = [row for part in run.parts("comparisons") for row in part.to_pylist()]
    by_id = {row["user_id"]: row for row in predictions}
    page.search("ZEBRA", 1)
    assert page.listed() == ["user-00006"]
    page.search(by_id["user-00009"]["summary"][:40], 1)
    assert page.listed() == ["user-00009"]
    peer = next(row for row in comparisons if row["user_id"] == "user-00010")["representatives"][0]["text"]
    with_peer = {row["user_id"] for row in comparisons if peer in [each["text"] for each in row["representatives"]]}
    own = {row["user_id"] for row in comparisons if row["review"]["text"] == peer}
    page.search(peer, len(with_peer | own))
    assert set(page.listed()) == with_peer | own
    page.search("no such words anywhere", 0)
    assert page.listed() == []


def test_it_sorts_by_score_gain_and_loss(report, folders, visit):
    page, first, second = visit(report), scores(folders, 0), scores(folders, 1)
    page.page.select_option("#sort", "highest")
    assert page.listed() == sorted(USERS, key=lambda user: (-first[user], user))
    gains = {user: first[user] - second[user] for user in USERS if second[user] is not None}
    page.page.select_option("#sort", "gain")
    assert page.listed() == [*sorted(gains, key=lambda user: (-gains[user], user)), "user-00002"]
    page.page.select_option("#sort", "loss")
    assert page.listed() == [*sorted(gains, key=lambda user: (gains[user], user)), "user-00002"]
    page.page.select_option("#of", "1")
    page.page.select_option("#sort", "lowest")
    assert page.listed()[-1] == "user-00002"
    page.page.select_option("#sort", "longest")
    assert page.listed()[0] == "user-00005"


@pytest.mark.parametrize(("measure", "title"), [("judge", "Judge"), ("author_characters", "Author by characters")])
def test_judges_and_author_identification_are_sorted_by_and_shown_as_metrics_are(
    report, folders, visit, measure, title
):
    page, first, second = visit(report), scores(folders, 0, measure), scores(folders, 1, measure)
    page.page.select_option("#measure", measure)
    page.page.select_option("#sort", "highest")
    assert page.listed() == sorted(USERS, key=lambda user: (-first[user], user))
    gains = {user: round(first[user] - second[user], 9) for user in USERS if second[user] is not None}
    page.page.select_option("#sort", "loss")
    assert page.listed() == [*sorted(gains, key=lambda user: (gains[user], user)), "user-00002"]
    shown = page.open("user-00003")
    assert title in shown and f"{first['user-00003']:.4f}" in shown


def test_nothing_is_gained_over_a_run_that_was_to_write_another_review(tmp_path, visit):
    written = {"books": "the books have a blue cover", "cds": "the discs sound thin"}
    runs = [
        MadeRun(LocalFolder(tmp_path / name), name, n_users=4, texts={"user-00001": text}).write()
        for name, text in written.items()
    ]
    page = visit(write(tmp_path / "report.html", runs))
    gains = dict(zip(page.listed(), page.page.locator("#list .change").all_inner_texts(), strict=True))
    assert [user for user, gain in gains.items() if gain == "–"] == ["user-00001"]
    shown = page.open("user-00001")
    assert shown.count("Target: the review to be written") == 2 and all(text in shown for text in written.values())
    assert page.page.locator("#user .change").count() == 0 and page.page.locator("#marks").count() <= 1
    assert "the first run that was to write the same review" in shown
    assert page.open("user-00002").count("Target: the review to be written") == 1
    assert page.page.locator("#user .change").count() > 0


def test_what_is_no_merit_is_no_gain(report, visit):
    page = visit(report).page
    page.select_option("#measure", "copy_rate")
    assert page.locator("#list .more").count() > 0 and page.locator("#list .gain").count() == 0
    page.select_option("#measure", "rouge1")
    assert page.locator("#list .more").count() == 0 and page.locator("#list .gain").count() > 0


def test_it_filters_by_uniqueness_half(report, folders, tmp_path, visit):
    group = group_of(folders[0])
    unique = uniqueness([group], [group_scores(group)], Draws(10, 0))["more_unique"]
    page = visit(report)
    page.page.select_option("#half", "1")
    assert page.listed() == sorted(unique) and 0 < len(unique) < 24
    page.page.select_option("#half", "0")
    assert page.listed() == [user for user in USERS if user not in unique]
    page.page.select_option("#half", "")
    assert page.listed() == USERS
    plain = write(tmp_path / "report.html", folders[1:])
    assert visit(plain).page.locator("#half").count() == 0


def test_it_filters_by_method_and_by_failures(report, visit):
    page = visit(report)
    page.page.select_option("#method", "intsum")
    assert page.listed() == ["user-00007", "user-00017"]
    page.page.select_option("#method", "")
    page.page.select_option("#state", "differences")
    assert page.listed() == ["user-00004"]
    page.page.select_option("#state", "failed")
    assert page.listed() == []
    page.page.select_option("#of", "1")
    assert page.listed() == ["user-00002"]
    shown = page.open("user-00002")
    assert "failed: refused by the engine: <b>no</b>" in shown


def test_a_user_shows_both_runs_side_by_side_and_all_that_led_to_them(report, folders, visit):
    shown = visit(report).open("user-00003")
    page = visit(report, "#user=user-00003")
    assert page.opened("user-00003") == shown
    for run in map(open_run, folders):
        rows = {row["user_id"]: row for part in run.parts("predictions") for row in part.to_pylist()}
        row = rows["user-00003"]
        assert row["prediction"] in shown and row["summary"] in shown and row["reference"] in shown
    context = next(
        row
        for part in open_run(folders[0]).parts("contexts")
        for row in part.to_pylist()
        if row["user_id"] == "user-00003"
    )
    everything = page.page.text_content("#user")
    assert all(review["text"] in everything and review["title"] in everything for review in context["history"])
    assert context["target"]["item_description"] in everything
    assert all(state in everything for state in ("kept by", "reworded by", "removed by validation", "group 1"))
    assert "Reasoning of the extractor" in everything and "words asked for" in everything
    left, right = (
        page.page.locator("#user .column", has_text=name).first.bounding_box() for name in ("first", "second")
    )
    assert left["y"] == right["y"] and left["x"] < right["x"]


@pytest.mark.parametrize("width", [390, 1280])
def test_a_link_to_nobody_says_so_until_another_is_opened(report, visit, width):
    page = visit(report, "#user=nobody%20here", viewport={"width": width, "height": 800})
    assert page.page.inner_text("#notice") == "There is no user nobody here in this report."
    assert page.page.is_visible("#summary")
    page.page.evaluate("location.hash = '#user=user-00003'")
    page.opened("user-00003")
    assert not page.page.is_visible("#notice")
    page = visit(report, "#user=50%")
    assert "There is no user 50%" in page.page.inner_text("#notice")


def test_a_file_that_is_cut_off_says_so_and_its_numbers_stay_usable(report, tmp_path, visit):
    whole = report.read_bytes()
    cut = tmp_path / "report.html"
    cut.write_bytes(whole[: whole.index(b'class="data">') + 30])
    page = visit(cut)
    assert page.listed() == USERS
    page.page.click('[data-user-id="user-00003"]')
    page.page.wait_for_selector("#notice", state="visible")
    assert "This file is cut off" in page.page.inner_text("#notice")
    page.page.select_option("#sort", "highest")
    assert len(page.listed()) == 24 and page.page.is_visible("#summary")


def test_texts_are_unpacked_once_and_later_searches_find_the_same(report, visit):
    page = visit(report)
    page.page.evaluate(COUNT_STREAMS)
    for text, found in (
        ("zebra", 1),
        ("no such words anywhere", 0),
        ("00013", 1),
        ("ZEBRA", 1),
        ("a very long text", 1),
    ):
        page.search(text, found)
    documents = page.page.evaluate("JSON.parse(document.getElementById('index').textContent)")
    assert page.page.evaluate("unpacked") == len(
        {tuple(at) for what in ("users", "items") for at in documents[what]["at"]}
    )


COUNT_STREAMS = """() => {
  window.unpacked = 0;
  const Stream = DecompressionStream;
  window.DecompressionStream = class extends Stream { constructor(format) { super(format); window.unpacked++; } };
}"""


def test_keys_search_step_explain_and_go_back(report, visit):
    page = visit(report)
    page.page.keyboard.press("j")
    page.opened("user-00000")
    page.page.keyboard.press("j")
    page.opened("user-00001")
    page.page.keyboard.press("k")
    page.opened("user-00000")
    assert page.page.get_attribute("[aria-current]", "data-user-id") == "user-00000"
    page.page.keyboard.press("/")
    page.page.keyboard.type("jk")
    assert page.page.input_value("#search") == "jk"
    page.page.keyboard.press("Escape")
    page.page.keyboard.press("?")
    assert page.page.is_visible("#help")
    page.page.keyboard.press("Escape")
    assert not page.page.is_visible("#help")
    page.page.keyboard.press("Escape")
    page.page.wait_for_selector("#summary", state="visible")
    assert not page.page.is_visible("#user")


def test_hostile_texts_stay_text(report, visit):
    page = visit(report)
    shown = page.open("user-00001")
    assert "</script><script>alert(1)</script><img src=x onerror=alert(1)><!--" in shown
    assert page.page.locator("img").count() == 0
    assert page.page.locator("#user script").count() == 0


@pytest.mark.parametrize("prefix", ['<b>&"', "é/#?%", "用户 \u202e\u2028", "'\\] :"])
def test_any_id_is_listed_found_and_opened(tmp_path, visit, prefix):
    folder = MadeRun(LocalFolder(tmp_path), prefix=prefix, n_users=4, history=1).write()
    page = visit(write(tmp_path / "report.html", [folder]))
    assert page.listed() == [f"{prefix}{number:05d}" for number in range(4)]
    page.page.keyboard.press("j")
    page.page.keyboard.press("j")
    page.page.locator("#user-title", has_text="00001").wait_for()
    assert page.page.text_content("#user-title") == f"{prefix}00001"
    page.search(f"{prefix}00002", 1)


def test_a_very_long_text_is_clipped_until_the_rest_is_asked_for(report, visit):
    page = visit(report)
    assert len(page.open("user-00005")) < 120_000
    page.page.locator("button", has_text="Show all 1,048,575 characters").first.click()
    assert LONG in page.page.text_content("#user .real")


def test_right_to_left_texts_have_their_direction(report, visit):
    page = visit(report)
    page.open("user-00006")
    assert page.page.locator("#user .real .prose").evaluate("element => getComputedStyle(element).direction") == "rtl"


def test_shared_words_are_marked_and_can_be_unmarked(report, visit):
    page = visit(report)
    page.open("user-00003")
    marked = "name => [...CSS.highlights.get(name)].map(String)"
    phrases, singles = (page.page.evaluate(marked, name) for name in ("phrase", "shared"))
    real, *written = page.page.locator("#user .prose.written").all_text_contents()
    longest = max(phrases, key=len)
    assert len(longest.split()) > 5 and longest in real and all(longest in text for text in written)
    assert all(len(phrase.split()) > 1 for phrase in phrases)
    assert singles and all(word.lower() in real.lower() and " " not in word for word in singles)
    page.page.keyboard.press("m")
    assert page.page.evaluate(marked, "phrase") == page.page.evaluate(marked, "shared") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_and_every_text_can_be_read(report, visit, scheme, width):
    page = visit(report, viewport={"width": width, "height": 800}, color_scheme=scheme)
    for fragment in ("#", "#user=user-00003"):
        page.page.evaluate("fragment => { location.hash = fragment }", fragment)
        page.page.wait_for_selector("#user-title" if "user" in fragment else "#summary", state="visible")
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.page.evaluate(CONTRAST) == []
    assert page.page.is_visible("#search")
    page.page.fill("#search", "user-00003")
    page.page.wait_for_selector('[data-user-id="user-00003"]', state="visible")


CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (color) => {
    const linear = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = color.slice(0, 3).map(linear);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const color = rgba(getComputedStyle(each).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255, 255];
  };
  const found = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest("script, option")) continue;
    const style = getComputedStyle(element);
    const ink = rgba(element.closest("svg") ? style.fill : style.color);
    const [a, b] = [luminance(ink), luminance(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const words = walker.currentNode.data.slice(0, 20);
    if (ratio < 4.5) found.add(`${element.tagName}.${element.className} ${ratio.toFixed(2)} ${words}`);
  }
  return [...found];
}"""


def test_screen_readers_find_landmarks_names_and_headings(report, visit):
    page = visit(report, "#user=user-00003").page
    page.wait_for_selector("#user-title")
    assert page.locator("html[lang=en]").count() == 1
    assert all(page.locator(landmark).count() == 1 for landmark in ("main", "aside[aria-label]", "[role=search]", "h1"))
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("input, select, button, a")]
            .filter((each) => !(each.labels?.length || each.textContent.trim() || each.ariaLabel))
            .map((each) => each.outerHTML)"""
    )
    assert unnamed == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids))
    assert page.evaluate("document.activeElement.id") == "user-title"
    assert page.locator("#count[role=status]").count() == 1


def test_marks_of_plots_say_what_they_are(report, visit):
    page = visit(report).page
    mark = page.locator("#summary svg circle[data-tip]").first
    mark.hover()
    assert page.inner_text("#tip").startswith("first")
    page.mouse.move(0, 0)
    assert not page.is_visible("#tip")
    mark.focus()
    assert page.is_visible("#tip")


def test_a_page_without_texts_opens_and_searches_ids(folders, tmp_path, visit):
    page = visit(write(tmp_path / "report.html", folders, with_texts=False))
    shown = page.open("user-00003")
    assert "left out" in shown and "kept by validation" in shown
    page.search("00013", 1)
    assert page.listed() == ["user-00013"]


def test_a_sample_lists_its_users_and_says_so(folders, tmp_path, visit):
    page = visit(write(tmp_path / "report.html", folders, sample=9))
    tables = [read_user_table(open_run(folder)) for folder in folders]
    chosen = choose(tables, 9, 0).user_ids
    assert page.listed() == list(chosen) and len(chosen) < 24
    assert f"{len(chosen)} of 24 users are here: a sample drawn with seed 0" in page.page.inner_text("#summary")


def test_one_run_alone_has_no_other_to_gain_over(folders, tmp_path, visit):
    page = visit(write(tmp_path / "report.html", folders[:1]))
    assert page.page.locator("#against").count() == 0
    assert page.page.locator("#sort option[value=gain]").count() == 0
    assert page.listed() == USERS and "User by user" not in page.page.inner_text("#summary")

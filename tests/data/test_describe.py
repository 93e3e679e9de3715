"""What `describe` finds: planted leaks and thin spots are counted; near texts are those that plain counting finds."""

import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from drp_ray import schema
from drp_ray.cli import app
from drp_ray.data.footers import write_with_footer
from drp_ray.data.shingles import WORDS, References, shingle
from drp_ray.storage.folder import LocalFolder

VOCABULARY = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def sets_of_words(text: str) -> set[tuple[str, ...]]:
    words = text.lower().replace(",", " ").replace("!", " ").split()
    if len(words) < WORDS:
        return {tuple(words)} if words else set()
    return {tuple(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1)}


def plainly_near(text: str, reference: str, threshold: float) -> bool:
    mine, theirs = sets_of_words(text), sets_of_words(reference)
    return bool(mine and theirs) and len(mine & theirs) / len(mine | theirs) >= threshold


@st.composite
def edited_texts(draw):
    """Texts of a few words, and copies of them with some words changed."""
    seed = draw(st.integers(0, 10**6))
    chance = random.Random(seed)
    texts = [" ".join(chance.choices(VOCABULARY, k=chance.randrange(0, 40))) for _ in range(6)]
    for text in list(texts):
        words = text.split()
        for _ in range(chance.randrange(0, 4)):
            if words:
                words[chance.randrange(len(words))] = chance.choice(["other", "One,", "TWO!", ""])
        texts.append(" ".join(words))
    return texts


@given(edited_texts(), edited_texts(), st.sampled_from([0.3, 0.5, 0.7, 0.9, 1.0]))
def test_near_texts_are_those_that_comparing_every_pair_finds(texts, references, threshold):
    references = references + texts[6:9]
    found = References.of(shingle(pa.array(references)), threshold).near(shingle(pa.array(texts)))
    expected = [
        (text, reference)
        for text in range(len(texts))
        for reference in range(len(references))
        if plainly_near(texts[text], references[reference], threshold)
    ]
    assert found == expected


def text_of(number: int) -> str:
    chance = random.Random(number)
    return " ".join("".join(chance.choices("abcdefghijkl", k=6)) for _ in range(40))


def review(item: int, timestamp: int, text: str, title: str | None = "t") -> dict:
    return {"item_id": f"i{item}", "rating": 3.0, "title": title, "text": text, "timestamp": timestamp}


def spoilt(text: str) -> str:
    """The text with one of its forty words changed: 31 of 41 shingles are shared."""
    words = text.split()
    return " ".join([*words[:20], "changed", *words[21:]])


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Ten users who reviewed the same three items, with one leak of each kind and a thin user."""
    folder = tmp_path_factory.mktemp("planted")
    users = []
    for number in range(10):
        profile = [review(item, 10 * item + number, text_of(100 * number + item)) for item in range(3)]
        users.append({"user_id": f"u{number}", "profile": profile, "target": review(4, 25, text_of(100 * number + 50))})
    users[0]["profile"][1]["text"] = users[0]["target"]["text"]
    users[1]["profile"][2]["text"] = spoilt(users[1]["target"]["text"])
    users[2]["profile"][0]["text"] = users[3]["target"]["text"]
    users[4]["profile"][0]["text"] = spoilt(users[5]["target"]["text"]).upper() + "!"
    users[6]["profile"] = []
    users[7]["target"] |= {"item_id": "i5", "title": " "}
    users[8]["profile"] = [review(3, number, text_of(9000 + number)) for number in range(501)]
    items = [{"item_id": f"i{n}", "title": "x", "description": None if n == 5 else "d"} for n in range(6)]
    for part, rows in enumerate((users[:4], users[4:])):
        write_with_footer(
            LocalFolder(folder / "test" / "users"), f"part-{part}.parquet", pa.Table.from_pylist(rows, schema.USERS), {}
        )
    write_with_footer(
        LocalFolder(folder / "items"), "part-0.parquet", pa.Table.from_pylist(items, schema.CATALOGUE), {}
    )
    return folder


def report_lines(output: str) -> dict[str, tuple[str, str, str, str]]:
    """The lines of the report: count, share, of how many, examples."""
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if "│" in line]
    return {cells[0]: tuple(cells[1:]) for cells in lines if len(cells) == 5}


def test_planted_leaks_and_thin_spots_are_counted(planted, ray_here):
    result = CliRunner().invoke(app, ["data", "describe", str(planted), "--n", "3", "--k", "4"])
    assert result.exit_code == 0, result.output
    lines = report_lines(result.stdout)
    assert lines["target's text in the user's own profile"] == ("1", "10.00%", "10", "u0")
    assert lines["target's text nearly in the user's own profile (Jaccard ≥ 0.7)"] == ("1", "10.00%", "10", "u1")
    assert lines["target's text in another user's profile"] == ("1", "10.00%", "10", "u3")
    assert lines["target's text nearly in another user's profile (Jaccard ≥ 0.7)"] == ("1", "10.00%", "10", "u5")
    assert lines["empty profiles"][:3] == ("1", "10.00%", "10")
    assert lines["profiles of more than 500 reviews"][0] == "1"
    assert lines["empty queries"][0] == "1"
    assert lines["users with fewer than 3 items that 4 others reviewed"][0] == "2"
    assert lines["items in profiles with fewer than 5 reviewers"][:3] == ("1", "25.00%", "4")
    # Users 0 to 5, 7 and 9 reviewed items 0 to 2, each seen by seven others; of item 2, users 7 and 9 wrote after 25.
    assert lines["peers' reviews newer than the target"][:3] == ("14", "8.33%", str(8 * 3 * 7))
    assert lines["users who would see such a review"][:3] == ("8", "80.00%", "10")


def test_a_split_can_be_described_by_itself_and_thresholds_count(planted, ray_here):
    result = CliRunner().invoke(
        app, ["data", "describe", str(planted / "test"), "--near", "0.8", "--query", "item_title"]
    )
    assert result.exit_code == 0, result.output
    lines = report_lines(result.stdout)
    assert lines["target's text nearly in the user's own profile (Jaccard ≥ 0.8)"][0] == "0"
    assert lines["empty queries"][0] == "0"
    result = CliRunner().invoke(app, ["data", "describe", str(planted), "--query", "stars"])
    assert result.exit_code == 2 and "--query stars: known: item_title" in result.stderr

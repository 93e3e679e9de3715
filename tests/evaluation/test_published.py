"""Published numbers are those of the papers' tables, and stand beside runs of their own protocol only."""

import re
from pathlib import Path

import pytest

from drp_ray.config import checked
from drp_ray.evaluation.published import published_beside, published_dataset, published_rows

DOCUMENT = Path(__file__).parents[2] / "docs/method.md"
METHOD = Path(__file__).parents[2].parent / "shared" / "METHOD.md"
NAMES = {"Movies & TV": "movies", "CDs & Vinyl": "cds", "CDs": "cds", "Books": "books"}
QWEN = "Qwen/Qwen2.5-14B-Instruct"
EXTRACTORS = {
    "Qwen 14B": QWEN,
    "Qwen 32B": "Qwen/Qwen2.5-32B-Instruct",
    "R1-Distill 14B": "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
    "R1-Distill 32B": "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
}
DPL_ROLES = ("extractor", "summarizer", "generator")
DRP_ROLES = (*DPL_ROLES, "validator")


def numbers() -> dict:
    """Every published number by protocol, dataset, method or extractor, and column."""
    found = {}
    for row in published_rows():
        who = row.method if row.protocol == "dpl" else row.models["extractor"]
        for name, value in {**row.metrics, **row.judges}.items():
            found[row.protocol, row.dataset, who, name] = value
    return found


def of_document() -> dict:
    """The numbers of the two tables of docs/method.md."""
    found, section, dataset = {}, DOCUMENT.read_text().partition("## Published results")[2], ""
    protocol, names = "dpl", ("rouge1", "rougeL", "meteor", "bleu", "S-72B", "S-GPT")
    for cells in re.findall(r"^\|(.+)\|$", section.partition("\n## ")[0], re.MULTILINE):
        first, who, *values = [cell.strip() for cell in cells.split("|")]
        if who == "extractor":
            protocol = "drp"
        if not values or not re.fullmatch(r"[\d.]+", values[0]):
            continue
        dataset = NAMES.get(first, dataset)
        who = EXTRACTORS.get(who, who.strip("`"))
        found |= {(protocol, dataset, who, name): float(value) for name, value in zip(names, values, strict=False)}
    return found


def of_method() -> dict:
    """The numbers of the developers' METHOD.md."""
    text = METHOD.read_text()
    table = text.partition("| | Movies & TV | CDs & Vinyl | Books |")[2]
    found = {}
    for line in table.split("\n\n")[0].splitlines()[2:]:
        method, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        for dataset, cell in zip(("movies", "cds", "books"), cells, strict=True):
            names = ("rouge1", "meteor", "S-72B", "rougeL", "bleu", "S-GPT")
            found |= {("dpl", dataset, method, n): float(v) for n, v in zip(names, cell.split("/"), strict=True)}
    prose = re.sub(r"\s+", " ", text.partition("DRP, temperatures 0 and 0.8 averaged")[2])
    for dataset, said in re.findall(r"(Books|CDs): (.*?)\. (?=CDs|\()", prose):
        for who, cell in re.findall(r"((?:Qwen|R1-Distill) \d+B) ([\d./]+\d)", said):
            names = ("bleu", "meteor", "rouge1", "rougeL")
            key = NAMES[dataset], EXTRACTORS[who]
            found |= {("drp", *key, n): float(v) for n, v in zip(names, cell.split("/"), strict=True)}
    return found


def test_every_number_is_that_of_the_projects_document():
    assert len(numbers()) == 21 * 6 + 8 * 4
    assert numbers() == of_document()


@pytest.mark.skipif(not METHOD.is_file(), reason="METHOD.md lies beside the developers' checkouts")
def test_every_number_is_that_of_the_papers_tables():
    assert numbers() == of_method()


def test_every_row_says_where_it_is_from_and_how_it_was_made():
    assert {(row.protocol, row.source) for row in published_rows()} == {
        ("dpl", "https://arxiv.org/abs/2503.02450"),
        ("drp", "https://arxiv.org/abs/2511.15389"),
    }
    assert all(row.split == "test" and row.paper and row.models["generator"] == QWEN for row in published_rows())
    keys = [(row.protocol, row.dataset, row.method, row.models["extractor"]) for row in published_rows()]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("s3://b/datasets/books/test", ("books", "test")),
        ("data/CDs_and_Vinyl/test", ("cds", "test")),
        ("data/CDs & Vinyl/test/", ("cds", "test")),
        ("/data/Movies-and-TV/val", ("movies", "val")),
        ("s3://b/yelp/test", ("yelp", "test")),
        ("data/books", (None, "books")),
        ("data/comic-books/test", (None, "test")),
        ("test", (None, "test")),
    ],
)
def test_a_dataset_is_known_by_the_folder_above_its_split(location, expected):
    assert published_dataset(location) == expected


def config(**settings):
    job = {"name": "j", "dataset": "d/books/test", "root": "o", "method": "dpl", "protocol": "dpl"}
    return checked({**job, "models": {"llm": {"id": f"/models/{QWEN.partition('/')[2]}"}}, **settings}, "job")


def test_a_row_stands_beside_a_run_of_its_dataset_method_models_and_protocol():
    row = published_beside(config(), DPL_ROLES)
    assert (row.dataset, row.method, row.protocol, row.metrics["bleu"]) == ("books", "dpl", "dpl", 5.9379)
    assert published_beside(config(protocol="full+dpl"), DPL_ROLES) == row
    assert published_beside(config(method="rag"), ("generator",)).metrics["rouge1"] == 0.3238
    models = {"r": {"id": EXTRACTORS["R1-Distill 32B"]}, "w": {"id": QWEN}}
    roles = {"extractor": "r", "validator": "r", "summarizer": "w", "generator": "w"}
    drp = config(method="drp", protocol="drp", models=models, roles=roles)
    assert published_beside(drp, DRP_ROLES).metrics["bleu"] == 6.9535


@pytest.mark.parametrize(
    "settings",
    [
        {"protocol": "drp"},
        {"protocol": None},
        {"protocol": "full"},
        {"protocol": "dpl+yelp-100x5"},
        {"method": "drp"},
        {"dataset": "d/books/val"},
        {"dataset": "d/music/test"},
        {"models": {"llm": {"id": "Qwen/Qwen2.5-7B-Instruct"}}},
        {"users": {"limit": 10}},
        {"users": {"sample": 10}},
        {"retrieval": {"n": 4}},
        {"selection": {"k": 2}},
        {"differences": {"dimensions": ["writing"]}},
        {"sampling": {"top_p": 1.0}},
    ],
)
def test_it_stands_beside_no_other_run(settings):
    assert published_beside(config(**settings), DPL_ROLES) is None


def test_the_order_of_dimensions_makes_no_other_run():
    changed = config(differences={"dimensions": ["semantic", "emotion", "writing"]})
    assert published_beside(changed, DPL_ROLES) == published_beside(config(), DPL_ROLES)

"""The figures of a dataset, and which published ones they are put beside."""

import statistics

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.data.figures import Moments, SplitFigures, as_text, category_of, figures_table


@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=50), st.integers(0, 50))
def test_parts_add_up_to_the_mean_and_deviation_of_all_values(values, cut):
    moments = Moments.of(pa.array(values[:cut], pa.int32())).plus(Moments.of(pa.array(values[cut:], pa.int32())))
    assert moments.mean == pytest.approx(statistics.fmean(values))
    assert moments.sd == pytest.approx(statistics.pstdev(values), abs=1e-3)


@pytest.mark.parametrize(
    ("names", "category"),
    [
        (["Books.jsonl.gz"], "Books"),
        (["raw_review_CDs_and_Vinyl/full-00000.parquet"], "CDs_and_Vinyl"),
        (["data/meta_Movies_and_TV.jsonl"], "Movies_and_TV"),
        (["DPL-Yelp"], "Yelp"),
        (["Digital_Music.jsonl.gz"], None),
        (["Ebooks.jsonl"], None),
        (["Books.jsonl", "CDs_and_Vinyl.jsonl"], None),
    ],
)
def test_files_are_known_by_the_category_in_their_names(names, category):
    assert category_of(names) == category


def test_published_figures_stand_beside_those_of_a_known_category_only():
    splits = {name: SplitFigures(Moments(2, 20, 250), Moments(2, 400, 90_000)) for name in ("train", "val", "test")}
    table = as_text([figures_table(splits, 7, 30, "Yelp")])
    for line in ("train rows", "2", "229,944"), ("test profile, reviews", "10.00 ± 5.00", "44.06 ± 41.69"):
        assert any(all(cell in row for cell in line) for row in table.splitlines()), table
    assert "published" not in as_text([figures_table(splits, 7, 30, None)])


@pytest.mark.parametrize(
    ("category", "profile", "output"),
    [
        ("Movies_and_TV", "41.11 ± 35.89", "1,704.61 ± 1,751.98"),
        ("CDs_and_Vinyl", "38.50 ± 32.36", "1,600.04 ± 1,419.49"),
        ("Books", "34.84 ± 22.51", "1,194.90 ± 801.18"),
        ("Yelp", "44.06 ± 41.69", "659.71 ± 390.20"),
    ],
)
def test_profile_sizes_and_output_lengths_stand_beside_the_published_ones_of_the_test_split(category, profile, output):
    splits = {name: SplitFigures(Moments(2, 20, 250), Moments(2, 400, 90_000)) for name in ("train", "test")}
    lines = as_text([figures_table(splits, 7, 30, category)]).splitlines()
    [of_profile] = [line for line in lines if profile in line]
    [of_output] = [line for line in lines if output in line]
    assert "test profile, reviews" in of_profile and "10.00 ± 5.00" in of_profile
    assert "test output, characters" in of_output and "200.00 ± 70.71" in of_output

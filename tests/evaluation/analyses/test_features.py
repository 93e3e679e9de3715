"""Every key can be counted, two directions of one are one, and what cannot be read is nothing."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.evaluation.analyses.feature_counts import counts_of, users_by_key
from drp_ray.evaluation.analyses.taxonomy import KEYS, LABELS, OTHER, Label, read_label

LABEL = st.sampled_from(sorted(LABELS))


def test_the_taxonomy_has_distinct_keys_with_two_directions_in_three_dimensions():
    assert len({key.name for key in KEYS}) == len(KEYS)
    assert len(LABELS) == 2 * len(KEYS) + 1
    assert {key.dimension for key in KEYS} == {"writing", "emotion", "semantic"}
    assert all(key.more != key.less and key.definition for key in KEYS)


def test_the_document_has_the_taxonomy():
    text = (Path(__file__).parents[3] / "docs/analyses.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+), (\w+) \| (.+) \|$", text, re.MULTILINE)
    assert rows == [(key.name, key.dimension, key.more, key.less, key.definition) for key in KEYS]
    assert f"how many of the {len(KEYS)} keys" in text


@given(label=LABEL, around=st.sampled_from(["{}", " {}\n", "**{}**", "`{}`", '"{}"', "{}."]))
def test_every_label_can_be_read_and_names_its_key(label, around):
    found = read_label(around.format(label))
    assert found == LABELS[label]
    assert read_label(label.upper()) == found
    assert read_label(label.replace(": ", ":")) == found
    if label != OTHER:
        opposite = [text for text, each in LABELS.items() if each.key == found.key and each != found]
        assert [LABELS[text].direction for text in opposite] == [-found.direction]


@pytest.mark.parametrize(
    "reply",
    [
        "", "length", "longer", "length: longest", "length: longer or shorter", "The label is length: longer", "1",
        "length: longer\nformality: formal", "others", "none", "length: formal", "length - longer", "{{ keys }}",
    ],
)  # fmt: skip
def test_anything_else_cannot_be_read(reply):
    assert read_label(reply) is None


@given(st.text())
def test_no_text_is_more_than_a_label(text):
    assert read_label(text) is None or read_label(text) in LABELS.values()


def row(user, *labels, status="ok", failed=False):
    """A row of `schema.FEATURE_KEYS`; a label None could not be read."""
    keys = [
        {"index": index, "readable": label is not None, "key": (label or Label(None, 0)).key,
         "direction": (label or Label(None, 0)).direction}
        for index, label in enumerate(labels)
    ]  # fmt: skip
    return {"user_id": user, "status": status, "failed": failed, "keys": keys}


LONGER, SHORTER, FORMAL = (LABELS[text] for text in ("length: longer", "length: shorter", "formality: formal"))


def test_opposite_directions_are_one_key_and_other_and_unreadable_ones_none():
    found = counts_of([row("u", LONGER, FORMAL, None), row("u", SHORTER, LABELS[OTHER])])["u"]
    assert (found.unique_keys, found.contradictory) == (2, 1)
    assert (found.features, found.other, found.unreadable, found.failed) == (5, 1, 1, 0)


def test_a_failed_row_adds_nothing_and_of_a_user_with_no_other_nothing_is_known():
    rows = [row("u", LONGER), row("u", FORMAL, status="error"), row("v", failed=True), row("w")]
    found = counts_of(rows)
    assert {user for user, counts in found.items() if counts.is_known} == {"u", "w"}
    assert sum(counts.failed for counts in found.values()) == 2
    assert (found["u"].unique_keys, found["u"].failed, found["w"].unique_keys) == (1, 1, 0)


@given(rows=st.lists(st.tuples(st.sampled_from("uvw"), st.lists(LABEL | st.none(), max_size=3)), max_size=8),
       order=st.randoms(use_true_random=False))  # fmt: skip
def test_the_order_of_rows_changes_no_count_and_users_do_not_mix(rows, order):
    made = [row(user, *(label and LABELS[label] for label in labels)) for user, labels in rows]
    shuffled = list(made)
    order.shuffle(shuffled)
    found = counts_of(made)
    assert counts_of(shuffled) == found
    for user in found:
        assert counts_of([each for each in made if each["user_id"] == user])[user] == found[user]
    by_key = users_by_key(found.values())
    assert set(by_key) == {key.name for key in KEYS}
    assert sum(by_key.values()) == sum(each.unique_keys for each in found.values())

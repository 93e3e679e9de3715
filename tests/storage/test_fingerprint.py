"""Fingerprints are equal for equal payloads everywhere, differ for unlike ones, and refuse the unstable."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from drp_ray.storage.fingerprint import (
    WHOLE_FILE_BYTES,
    NoStableForm,
    canonical_json,
    digest,
    fingerprint,
    model_identity,
)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
PAYLOADS = st.dictionaries(st.text(), VALUES, max_size=5)


def reordered(value):
    """The same value with the keys of every dict in reverse order."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(child) for child in value] if isinstance(value, list) else value


def spelled(value) -> str:
    """A spelling that keeps apart what Python calls equal: 1, 1.0 and True; 0.0 and -0.0."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{spelled(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(spelled, value)) + "]"
    return f"{type(value).__name__} {value!r}"


def changes_of(value):
    """The value with one thing changed, anywhere in it."""
    options = [st.sampled_from([[value], {"was": value}])]
    if isinstance(value, list):
        options += [VALUES.map(lambda more: [*value, more])]
        options += [
            changes_of(child).map(lambda new, at=at: [*value[:at], new, *value[at + 1 :]])
            for at, child in enumerate(value)
        ]
        options += [st.just(value[:-1])] if value else []
    elif isinstance(value, dict):
        options += [changes_of(child).map(lambda new, key=key: {**value, key: new}) for key, child in value.items()]
        options += [st.just({key: child for key, child in value.items() if key != gone}) for gone in value]
    else:
        options += [SCALARS]
    return st.one_of(options)


@given(PAYLOADS)
def test_the_order_of_keys_does_not_matter(payload):
    assert fingerprint(payload) == fingerprint(reordered(payload))


@given(st.data(), PAYLOADS)
def test_any_change_of_a_value_changes_the_fingerprint(data, payload):
    changed = data.draw(changes_of(payload).filter(lambda value: isinstance(value, dict)))
    assume(spelled(changed) != spelled(payload))
    assert fingerprint(changed) != fingerprint(payload)


@given(PAYLOADS)
def test_the_canonical_form_loses_nothing(payload):
    assert spelled(json.loads(canonical_json(payload))) == spelled(payload)


def test_other_processes_with_other_hash_seeds_agree():
    payload = {"naïve": [1, 2.5, None, True], "b": {"z": "\u2028", "a": -0.0}, "a": "😀"}
    code = (
        "import sys, json; from drp_ray.storage.fingerprint import fingerprint; "
        "print(fingerprint(json.loads(sys.argv[1])))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code, json.dumps(payload)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert seen == {fingerprint(payload)}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({1, 2}, "is a set"),
        (frozenset(), "is a frozenset"),
        (float("nan"), "is nan"),
        (float("inf"), "is inf"),
        (object(), "is a object"),
        (b"bytes", "is a bytes"),
        (np.float32(1), "is a float32"),
        (len, "is a builtin_function_or_method"),
    ],
)
def test_what_has_no_stable_form_is_refused_with_its_place(value, says):
    with pytest.raises(NoStableForm, match=rf"^payload\.models\[1\]\.engine {says}"):
        fingerprint({"models": [{}, {"engine": value}]})


def test_a_key_that_is_no_string_is_refused_with_its_place():
    with pytest.raises(NoStableForm, match=r"^payload\.a has the key 1"):
        fingerprint({"a": {1: "b"}})


def test_a_tuple_counts_as_a_list():
    assert fingerprint({"a": (1, 2)}) == fingerprint({"a": [1, 2]})


@given(st.binary(), st.binary())
def test_digests_differ_where_the_contents_do(one, other):
    assert (digest(one) == digest(other)) == (one == other)


def model_folder(path, **files):
    for name, content in {"config": b"{}", "weights": b"w" * 10, **files}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return str(path)


class TestModelIdentity:
    def test_a_hub_model_is_its_id_and_revision(self):
        assert model_identity("some/model", "abc") == {"id": "some/model", "revision": "abc"}

    def test_a_copy_of_a_folder_elsewhere_is_the_same_model(self, tmp_path):
        one, other = model_folder(tmp_path / "a"), model_folder(tmp_path / "b" / "c")
        assert model_identity(one, None) == model_identity(other, None)

    def test_another_content_name_or_file_is_another_model(self, tmp_path):
        folders = [
            model_folder(tmp_path / "same"),
            model_folder(tmp_path / "content", weights=b"v" * 10),
            model_folder(tmp_path / "more", tokenizer=b""),
            model_folder(tmp_path / "below", **{"below/weights": b"w" * 10}),
        ]
        assert len({fingerprint(model_identity(folder, None)) for folder in folders}) == len(folders)

    def test_hidden_files_do_not_count(self, tmp_path):
        with_lock = model_folder(tmp_path / "b", **{".lock": b"x"})
        assert model_identity(model_folder(tmp_path / "a"), None) == model_identity(with_lock, None)

    @pytest.mark.parametrize(("position", "counts"), [(0, True), (2**20, True), (-1, True)])
    def test_of_a_large_file_the_ends_what_lies_between_and_the_size_count(self, tmp_path, position, counts):
        content = bytearray(WHOLE_FILE_BYTES + 1)
        before = model_identity(model_folder(tmp_path / "a", weights=bytes(content)), None)
        longer = model_identity(model_folder(tmp_path / "c", weights=bytes(content) + b"\0"), None)
        content[position] = 1
        after = model_identity(model_folder(tmp_path / "b", weights=bytes(content)), None)
        assert (after != before) == counts
        assert longer != before


def test_a_change_of_any_layer_of_large_weights_is_another_model(tmp_path):
    """A merged fine-tune changes much of the middle of the file, and neither its ends nor its size."""
    content = bytearray(WHOLE_FILE_BYTES + 2**20)
    before = model_identity(model_folder(tmp_path / "a", weights=bytes(content)), None)
    middle = len(content) // 2
    content[middle : middle + 2**20] = b"x" * 2**20
    assert model_identity(model_folder(tmp_path / "b", weights=bytes(content)), None) != before


def test_a_model_that_is_one_file_is_known_by_its_content(tmp_path):
    file = tmp_path / "model.gguf"
    identities = []
    for content in (b"one", b"two", b"one"):
        file.write_bytes(content)
        identities.append(model_identity(str(file), None))
    assert identities[0] == identities[2] != identities[1]

"""The YAML of jobs: what is refused, and that nothing takes long to refuse."""

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.config import judge_option, load_config
from drp_ray.errors import BadInput
from drp_ray.job_yaml import MAX_DEPTH, parse_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
BOMBS = {
    "aliases": BOMB,
    "merges": MERGES,
    "brackets": "a: " + "[" * 200_000,
    "braces": "a: " + "{b: " * 100_000,
    "indents": "".join(f"{' ' * depth}a:\n" for depth in range(1_000)),
    "itself": "a: &a [*a, *a]",
    "many": "a: [" + "1, " * 300_000 + "]",
    "long": "a: " + "x" * 2_000_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_within_a_second(name):
    began = time.process_time()
    with pytest.raises(BadInput, match=r"job\.yaml: "):
        parse_yaml(BOMBS[name], "job.yaml")
    assert time.process_time() - began < 1.5


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("name: a\nname: b", "name"),
        ("models:\n  llm: {id: a}\n  llm: {id: b}", "llm"),
        ("a: {b: 1, c: 2, 'b': 3}", "b"),
    ],
)
def test_a_key_that_stands_twice_is_named_with_its_line(text, key):
    with pytest.raises(BadInput, match=rf"the key '{key}' stands twice \(line \d+, column \d+\)"):
        parse_yaml(text, "job.yaml")


def test_anchors_and_merges_of_a_job_work():
    text = "base: &base {engine: vllm, id: m}\nmodels:\n  a: *base\n  b:\n    <<: *base\n    id: other\n"
    models = parse_yaml(text, "job.yaml")["models"]
    assert models == {"a": {"engine": "vllm", "id": "m"}, "b": {"engine": "vllm", "id": "other"}}


@pytest.mark.parametrize(
    "text", ["a: [", "a: 'x", "\t- a", "!!python/object:os.system {}", "a: b: c", "? [a]: {}\n: x"]
)
def test_what_is_no_yaml_is_one_line(text):
    with pytest.raises(BadInput, match=r"job\.yaml: not YAML: ") as raised:
        parse_yaml(text, "job.yaml")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("sign", ["\x00", "\x01", "\x1b", "\x7f", "\ufffe", "\ud800"])
def test_a_character_that_yaml_does_not_allow_is_named_with_its_line(sign):
    with pytest.raises(BadInput, match=rf"job\.yaml: not YAML: .*U\+{ord(sign):04X}.* \(line 2, column 4\)"):
        parse_yaml(f"a: b\nc: {sign}d\n", "job.yaml")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(VALUES)
def test_what_yaml_writes_is_read_as_yaml_reads_it(value):
    text = yaml.safe_dump(value)
    assert parse_yaml(text, "job.yaml") == yaml.safe_load(text)


def test_values_may_lie_as_deep_as_any_job_needs():
    deep = "[" * (MAX_DEPTH - 2) + "]" * (MAX_DEPTH - 2)
    assert parse_yaml(f"a: {deep}", "job.yaml")


def test_files_overrides_and_judges_are_read_so(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text("name: a\nname: b\n")
    with pytest.raises(BadInput, match="the key 'name' stands twice"):
        load_config(file)
    file.write_text("name: a\n")
    with pytest.raises(BadInput, match=r"--set a=.*nested deeper"):
        load_config(file, [f"a={'[' * 100}"])
    with pytest.raises(BadInput, match=r"--set name=.*U\+0007"):
        load_config(file, ["name=a\ab"])
    with pytest.raises(BadInput, match="--judge"):
        judge_option("a={b: 1, b: 2}")

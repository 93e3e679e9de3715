"""Reads the YAML of jobs, which may come from anybody: no key twice, no bombs, nothing that calls code."""

from typing import Any

import yaml
from yaml.reader import ReaderError

from drp_ray.errors import BadInput

MAX_CHARACTERS = 2**18
MAX_DEPTH = 40
MAX_VALUES = 10_000
"""Values of a file with its aliases written out; a job has some hundreds."""


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text, which came from `where`.

    Raises:
        BadInput: it is no YAML, has a key twice, or is larger or deeper than any job.
    """
    if len(text) > MAX_CHARACTERS:
        raise BadInput(f"{where}: {len(text):,} characters are no job")
    try:
        return _value_of(text)
    except _Refused as error:
        raise BadInput(f"{where}: {error}") from error
    except ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        character = f"the character U+{error.character:04X} may not stand there"
        raise BadInput(f"{where}: not YAML: {character} (line {line}, column {column})") from error
    except yaml.MarkedYAMLError as error:
        place = f" ({_place(error.problem_mark)})" if error.problem_mark is not None else ""
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise BadInput(f"{where}: not YAML: {what}{place}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput(f"{where}: not YAML: {str(error).splitlines()[0]}") from error


def _value_of(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


class _Refused(Exception):
    """YAML that no job needs."""


class _Loader(yaml.SafeLoader):
    """Refuses while it reads, so that nothing large is ever made.

    `_sizes` has how many values each value stands for, with aliases written out: an alias counts as much as what it
    stands for. So a file of some lines that stands for billions is found at once.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._composed = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a value; see PyYAML."""
        self._depth, self._composed = self._depth + 1, self._composed + 1
        if self._depth > MAX_DEPTH:
            raise _Refused(f"values are nested deeper than {MAX_DEPTH} levels")
        is_alias = self.check_event(yaml.AliasEvent)
        node: Any = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise _Refused(f"a value holds itself ({_place(node.start_mark)})")
        if id(node) not in self._sizes:
            self._sizes[id(node)] = 1 + sum(self._sizes[id(child)] for child in _children(node))
        if max(self._sizes[id(node)], self._composed) > MAX_VALUES:
            raise _Refused(f"there are more than {MAX_VALUES:,} values (aliases written out)")
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Compose a mapping, and refuse a key that stands twice."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in seen:
                raise _Refused(f"the key {key.value!r} stands twice ({_place(key.start_mark)}); leave one")
            seen.add(name)
        return node


def _children(node: Any) -> list[Any]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return []

"""A class or a function of a user's own is found by its import path, or the message says what is missing."""

import sys

import pytest

from drp_ray.errors import BadInput
from drp_ray.inputs.import_path import load_object


class OwnClass:
    pass


def own_function():
    pass


@pytest.mark.parametrize("wanted", [OwnClass, own_function])
def test_a_class_and_a_function_are_found(wanted):
    assert load_object(f"{__name__}:{wanted.__name__}", "setting") is wanted


@pytest.mark.parametrize("path", ["", "module", "module:", ":name", "module.name"])
def test_a_path_of_another_form_is_refused_with_the_form(path):
    with pytest.raises(BadInput, match=r"^a\.setting: '.*' is not of the form package\.module:Class"):
        load_object(path, "a.setting")


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.module", "tests.no_such_module"])
def test_a_missing_module_is_named(module):
    with pytest.raises(BadInput, match=rf"^a\.setting: .* there is no module '{module.removesuffix('.module')}'"):
        load_object(f"{module}:name", "a.setting")


def test_a_missing_class_or_function_is_named_with_its_module():
    with pytest.raises(BadInput, match=rf"^a\.setting: .*{__name__} has no class NoClass"):
        load_object(f"{__name__}:NoClass", "a.setting")


def test_a_module_that_lacks_a_module_itself_is_no_missing_module(tmp_path, monkeypatch):
    (tmp_path / "own_module_that_imports.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        load_object("own_module_that_imports:name", "a.setting")
    assert "own_module_that_imports" not in sys.modules

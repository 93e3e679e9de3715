"""A job names a method of this package, or one of a user's own by its import path."""

import sys

import pytest

from drp_ray.errors import BadInput
from drp_ray.methods.base import DIFFERENCES, METHODS
from drp_ray.methods.lookup import find_differences, find_method

OWN = """
from drp_ray.methods.base import method, differences
from drp_ray.prompts.pack import EXTRACTION, PERSONAL_REVIEW

@method("{name}", needs="{needs}", asks={{"generator": PERSONAL_REVIEW}})
async def write(user, ask, prompts):
    return None

def plain(user):
    return None
"""

FINDING = """
@differences("own", asks={"extractor": EXTRACTION})
async def find(comparison, ask, prompts, dimensions):
    return None
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a module with a method; what it registers and the module itself are gone after the test."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    written = []

    def own(module, name="own", needs="history", more=""):
        sys.modules.pop(module, None)
        METHODS.pop(name, None)
        (tmp_path / f"{module}.py").write_text(OWN.format(name=name, needs=needs) + more)
        written.append((module, name))

    yield own
    for module, name in written:
        sys.modules.pop(module, None)
        METHODS.pop(name, None)
        DIFFERENCES.pop(name, None)


def test_every_method_of_the_package_is_found_by_its_name():
    for name, method in METHODS.items():
        assert find_method(name) is method
        assert (find_differences(method) is None) == (method.needs.name != "differences")


def test_a_decorated_function_is_found_by_its_path(own):
    own("my_own_module")
    found = find_method("my_own_module:write")
    assert (found.name, found.needs.name) == ("own", "history")
    assert found.origin["import_path"] == "my_own_module:write"


def test_a_method_asks_all_roles_of_those_that_write_where_it_cannot(own):
    own("my_own_module", needs="differences", more=FINDING)
    found = find_method("my_own_module:write")
    assert [each.name for each in found.fallbacks] == ["intsum", "nonperso"]
    assert found.roles == ("generator", "summarizer") and set(METHODS["intsum"].templates) <= set(found.templates)


def test_another_module_and_a_changed_one_are_other_origins(own):
    own("my_first", name="same")
    first = find_method("my_first:write").origin
    own("my_second", name="same")
    second = find_method("my_second:write").origin
    own("my_second", name="same", more="\nCHANGED = 1\n")
    assert len({first["source"], first["import_path"]} & {second["source"], second["import_path"]}) == 1
    assert find_method("my_second:write").origin != second


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("no_such_module:write", "there is no module 'no_such_module'"),
        ("my_own_module:missing", "has no .*missing"),
        ("my_own_module:plain", "is not a function decorated with @method"),
        (":write", "is not of the form"),
    ],
)
def test_a_path_that_leads_nowhere_is_bad_input(own, path, says):
    own("my_own_module")
    with pytest.raises(BadInput, match=f"method: .*{says}"):
        find_method(path)


def test_a_method_that_needs_differences_without_a_programme_for_them_is_bad_input(own):
    own("my_own_module", needs="differences")
    with pytest.raises(BadInput, match="own needs differences, but nothing finds them"):
        find_differences(find_method("my_own_module:write"))


def test_the_programme_of_an_own_method_has_the_origin_of_the_method(own):
    more = (
        '\n@differences("own", asks={"extractor": EXTRACTION})\nasync def find(comparison, ask, prompts, dimensions):\n'
    )
    own("my_own_module", needs="differences", more=more + "    return None\n")
    method = find_method("my_own_module:write")
    assert find_differences(method).origin == method.origin != {}

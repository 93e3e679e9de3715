"""A dataset without users yet."""

import pytest

from tests.inputs.files import Files


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path / "data")

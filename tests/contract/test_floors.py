"""The lowest versions that setup.cfg declares: each requirement has one, and what is installed reaches it."""

from importlib.metadata import version

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.floor_versions import floors


@pytest.mark.parametrize("floor", floors())
def test_every_requirement_has_a_lowest_version_that_is_reached(floor):
    requirement = Requirement(floor)
    (lowest,) = requirement.specifier
    assert lowest.operator == "=="
    assert Version(version(requirement.name)) >= Version(lowest.version)

"""What `adaptkit methods` says of the papers' own code, for everything that is registered by us."""

import re

import pytest

from adaptkit import list_methods, list_objectives, list_wrappers
from trainers.cli.released_code import NONE_FOUND, NONE_RELEASED, OWN, RELEASED, licence_of, repository_of

LICENCES = {"MIT", "Apache-2.0", "AGPL-3.0", "CC-BY-NC", "Apple's own", NONE_FOUND, NONE_RELEASED, OWN}


@pytest.mark.parametrize("name", sorted({*list_methods(), *list_wrappers(), *list_objectives()}))
def test_the_licence_of_its_code_is_known(name):
    assert licence_of(name) in LICENCES
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", repository_of(name)) or licence_of(name) in (NONE_RELEASED, OWN)


def test_nothing_is_listed_that_is_not_there():
    assert set(RELEASED) == {*list_methods(), *list_wrappers(), *list_objectives()}
    assert licence_of("of_a_plugin") == repository_of("of_a_plugin") == ""

"""Which names a catalogue takes, and what it says to others."""

from dataclasses import dataclass

import pytest

from adaptkit import MethodWrapper, Objective, register_method, register_objective, register_wrapper
from adaptkit.contract.catalogue import RESERVED, Catalogue
from adaptkit.prompts import CoOp, CoOpConfig
from tests.helpers.registrations import forget_registrations
from trainers.config.layers import BENCH_KEYS, CASE_KEYS, RUN_KEYS, make_schema


@dataclass(frozen=True)
class Options:
    """None."""


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    forget_registrations(monkeypatch)


@pytest.mark.parametrize("name", ["data", "optim", "views", "shots", "methods"])
def test_a_name_of_a_setting_is_refused_when_it_is_registered(name):
    with pytest.raises(ValueError, match=f"cannot be called '{name}', because a setting"):
        register_method(name, CoOpConfig)(CoOp)


def test_every_setting_beside_the_sections_of_plugins_is_reserved():
    plugins = {name.upper() for name in _plugins()}
    keys = {*BENCH_KEYS, *RUN_KEYS, *CASE_KEYS, *make_schema(), "WHEN"} - plugins
    assert {key.lower() for key in keys} <= RESERVED


def _plugins():
    from adaptkit import list_methods, list_objectives, list_wrappers

    return [*list_methods(), *list_wrappers(), *list_objectives()]


@pytest.mark.parametrize("name", ["CoOp", "co-op", "2fast", "", "co op"])
def test_a_name_is_a_lower_case_word(name):
    with pytest.raises(ValueError, match="lower-case letters"):
        register_method(name, CoOpConfig)(CoOp)


def test_options_are_a_frozen_dataclass():
    with pytest.raises(ValueError, match="expected a frozen dataclass"):
        register_method("new", dict)(CoOp)


def test_where_a_method_touches_clip_is_one_of_five_places():
    with pytest.raises(ValueError, match="touches 'sideways'; expected one of before, inside"):
        register_method("new", CoOpConfig, touches="sideways")(CoOp)


def test_a_method_and_a_wrapper_share_a_name_only_with_the_same_options():
    register_wrapper("shared", CoOpConfig)(MethodWrapper)
    register_method("shared", CoOpConfig)(CoOp)
    register_wrapper("other", Options)(MethodWrapper)
    with pytest.raises(ValueError, match="'other' is a wrapper with the options Options"):
        register_method("other", CoOpConfig)(CoOp)
    with pytest.raises(ValueError, match="'coop' is a method with the options CoOpConfig"):
        register_wrapper("coop", Options)(MethodWrapper)


def test_an_objective_has_a_name_of_its_own():
    with pytest.raises(ValueError, match="'das' names a wrapper already"):
        register_objective("das", Options)(Objective)
    with pytest.raises(ValueError, match="'cross_entropy' names an objective already"):
        register_wrapper("cross_entropy", Options)(MethodWrapper)


def test_a_catalogue_knows_its_names_and_the_nearest_ones():
    catalogue = Catalogue[CoOp]("thing")
    catalogue.add("long_name", CoOp, CoOpConfig)
    assert catalogue.names() == ["long_name"]
    with pytest.raises(ValueError, match="unknown thing 'long_nam'; did you mean long_name"):
        catalogue.get("long_nam")
    with pytest.raises(ValueError, match=r"thing 'long_name' is already adaptkit\.prompts\.coop"):
        catalogue.add("long_name", CoOp, CoOpConfig)

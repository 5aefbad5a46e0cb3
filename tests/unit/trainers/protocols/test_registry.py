import pytest

from trainers.config.layers import make_schema
from trainers.protocols import registry
from trainers.protocols.few_shot import few_shot
from trainers.protocols.registry import (
    SETTINGS_SECTIONS,
    EvalProtocol,
    get_protocol,
    list_protocols,
    register_protocol,
)

ALL = {"all": "all"}


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_PROTOCOLS", dict(registry._PROTOCOLS))


def test_a_registered_protocol_is_listed_and_found():
    made = register_protocol(EvalProtocol("mine", "Mine", few_shot, tests=ALL))
    assert "mine" in list_protocols()
    assert get_protocol("mine") is made


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="unknown protocol 'base_to_new'; did you mean base_to_novel"):
        get_protocol("base_to_new")


def test_a_taken_name_is_refused():
    with pytest.raises(ValueError, match=r"protocol 'few_shot' is already trainers\.protocols\.few_shot"):
        register_protocol(EvalProtocol("few_shot", "Mine", few_shot, tests=ALL))


@pytest.mark.parametrize("name", sorted(SETTINGS_SECTIONS))
def test_the_name_of_a_section_of_the_settings_is_refused(name):
    with pytest.raises(ValueError, match=f"protocol '{name}' would be called like a section"):
        register_protocol(EvalProtocol(name, "Mine", few_shot, tests=ALL))


def test_the_sections_are_those_of_the_settings_that_hold_for_every_method():
    assert {name.upper() for name in SETTINGS_SECTIONS} <= set(make_schema())


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "layout 'tests' needs the names of the tests"),
        ({"layout": "domains"}, "layout 'domains' is for tests on targets"),
        ({"layout": "sources", "targets": "suite", "tests": ALL}, "layout 'sources' is for tests on targets"),
        ({"layout": "shots", "tests": {"a": "a", "b": "b"}}, "needs one test; there are 2"),
        ({"oracle": True, "tests": {"a": "a", "b": "b"}}, "needs one test; there are 2"),
        ({"tests": ALL, "harmonic": ("base", "new")}, r"harmonic is \('base', 'new'\); its tests are all"),
    ],
)
def test_facts_that_contradict_each_other_are_refused(facts, message):
    with pytest.raises(ValueError, match=message):
        EvalProtocol("mine", "Mine", few_shot, **facts)

"""What every option promises, of methods, wrappers and objectives and of a bench's settings: no model is needed."""

import dataclasses
import json
import re
from typing import Literal, get_args, get_origin

import pytest

from adaptkit.artefacts.config import ArtefactError, Part, options_from_json
from adaptkit.contract.registry import HEADS, METHODS, OBJECTIVES, WRAPPERS
from adaptkit.options import declared, describe
from adaptkit.wrappers.fdt.model import FDTModelConfig
from tests.helpers.cases import for_every
from trainers.config.settings import (
    BackboneConfig,
    BenchSettings,
    CheckpointConfig,
    DataConfig,
    LaunchConfig,
    RunSettings,
)
from trainers.config.training import OptimConfig, ViewConfig

SETTINGS = (
    *(OptimConfig, ViewConfig, BackboneConfig, DataConfig, CheckpointConfig, LaunchConfig, BenchSettings, RunSettings),
    FDTModelConfig,
)
REGISTERED = [
    (f"{catalogue.kind} {name}", catalogue.get(name).config)
    for catalogue in (METHODS, WRAPPERS, OBJECTIVES, HEADS)
    for name in catalogue.names()
]
KINDS = {kind: name for name, kind in (*REGISTERED, *((kind.__name__, kind) for kind in SETTINGS))}
EVERY_KIND = [pytest.param(kind, id=name) for kind, name in KINDS.items()]
OPTIONS = [pytest.param(kind, name, id=f"{KINDS[kind]}-{name}") for kind in KINDS for name in declared(kind)]


def literals(hint):
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(word for argument in get_args(hint) for word in literals(argument))


def just_outside(limits, is_whole):
    """Numbers next to the ends of a range that do not belong to it."""
    step = 1 if is_whole else 1e-3
    inner = [(limits.least, -step), (limits.most, step), (limits.above, 0), (limits.below, 0)]
    return [end + beyond for end, beyond in inner if end is not None]


def parts(hint):
    """An annotation with all that it is made of: tuple[int, ...] | None -> int, None and the rest."""
    return {hint, *(part for argument in get_args(hint) for part in parts(argument))}


def number_of(hint):
    """int or float, if that is what a value may be, also beside None; None otherwise."""
    alone = [hint] if hint in (int, float) else [part for part in get_args(hint) if part is not type(None)]
    return alone[0] if len(alone) == 1 and alone[0] in (int, float) and get_origin(hint) is not tuple else None


def changed(kind, name, value):
    return dataclasses.replace(kind(), **{name: value})


@for_every(("kind", "name"), OPTIONS)
def test_a_wrong_word_is_answered_with_the_nearest(kind, name):
    hint = declared(kind)[name].hint
    for word in literals(hint):
        wrong = f"{word}x" if get_origin(hint) is Literal else (f"{word}x",)
        with pytest.raises(ValueError, match=rf"^{name}=.*{word}x.*expected .*one of .*\b{word}\b"):
            changed(kind, name, wrong)
    longest = max(literals(hint), key=len, default="")
    if len(longest) > 2:  # a word of one letter has none that is near
        with pytest.raises(ValueError, match=rf"did you mean .*\b{longest}\b"):
            changed(kind, name, f"{longest[:-1]}_")


@for_every(("kind", "name"), OPTIONS)
def test_a_value_of_another_type_is_refused(kind, name):
    for value in (object(), ["a"], {"a": 1}, (object(),)):
        with pytest.raises(ValueError, match=rf"^{name}="):
            changed(kind, name, value)
    default = getattr(kind(), name)
    other = 1 if isinstance(default, bool) else True  # neither is the other, though 1 == True
    with pytest.raises(ValueError, match=rf"^{name}={other}; expected"):
        changed(kind, name, other)


@for_every(("kind", "name"), OPTIONS)
def test_every_number_has_a_range_and_keeps_to_it(kind, name):
    declaration = declared(kind)[name]
    if not number_of(declaration.hint):
        return
    outside = just_outside(declaration.limits, number_of(declaration.hint) is int)
    assert outside, "a number needs a range"
    for number in outside:
        with pytest.raises(ValueError, match=rf"^{name}=.*; expected {re.escape(str(declaration.limits))}"):
            changed(kind, name, number)
    for number in (float("nan"), float("inf")) if number_of(declaration.hint) is float else ():
        with pytest.raises(ValueError, match=rf"^{name}=.*; expected a finite number"):
            changed(kind, name, number)


@for_every(("kind", "name"), OPTIONS)
def test_every_number_of_a_list_has_a_range_and_keeps_to_it(kind, name):
    declaration = declared(kind)[name]
    if number_of(declaration.hint) or not parts(declaration.hint) & {int, float}:
        return
    if name in ("blocks", "text_blocks", "vision_blocks") and KINDS[kind].startswith("method"):
        return  # negative ones count from the last block, and the tower says how many there are
    outside = just_outside(declaration.limits, int in parts(declaration.hint))
    assert outside, "numbers need a range"
    for number in outside:
        for numbers in ((number,), (*getattr(kind(), name), number)):
            with pytest.raises(ValueError, match=rf"^{name}=.*; expected {re.escape(str(declaration.limits))}"):
                changed(kind, name, numbers)


@pytest.mark.parametrize("blank", ["", "  ", "\n"])
@for_every(("kind", "name"), [option for option in OPTIONS if option.values[0] in SETTINGS])
def test_text_of_a_setting_is_not_empty_unless_that_is_its_default(kind, name, blank):
    declaration = declared(kind)[name]
    if str not in parts(declaration.hint) or getattr(kind(), name) == "":
        return
    for value in ((blank,), ("a", blank)) if get_origin(declaration.hint) is tuple else (blank,):
        with pytest.raises(ValueError, match=rf"^{name}=.*; expected text that is not empty"):
            changed(kind, name, value)


@for_every(("kind",), EVERY_KIND)
def test_every_option_is_explained_in_sentences(kind):
    for fact in describe(kind):
        assert fact.help[:1].isupper(), fact.name
        assert fact.help.endswith("."), fact.name
        assert fact.takes, fact.name


@for_every(("kind",), EVERY_KIND)
def test_the_defaults_come_back_from_json(kind):
    options = json.loads(json.dumps(dataclasses.asdict(kind())))
    assert options_from_json(kind, Part("it", options), "here") == kind()


@for_every(("kind", "name"), OPTIONS)
def test_json_of_another_type_is_refused(kind, name):
    with pytest.raises(ArtefactError, match=rf"here has options that it refuses: {name}="):
        options_from_json(kind, Part("it", {name: {"a": 1}}), "here")


@for_every(("kind",), EVERY_KIND)
def test_a_whole_number_stays_one_where_a_float_is_declared(kind):
    for name, declaration in declared(kind).items():
        if declaration.hint is float and declaration.problem(1) is None:
            assert type(getattr(changed(kind, name, 1), name)) is int

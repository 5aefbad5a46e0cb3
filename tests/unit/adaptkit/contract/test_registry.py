"""Methods by name: what is there, what is not, and what an option may be called."""

import dataclasses

import pytest

from adaptkit import AdaptedCLIP, ClassSet, create_method, list_methods, method_class, method_config, register_method
from adaptkit.prompts import CoOp, CoOpConfig


def test_names_lead_to_classes_and_options():
    assert {"coop", "zero_shot"} <= set(list_methods())
    assert method_class("coop") is CoOp
    assert method_config("coop") is CoOpConfig


def test_an_unknown_name_answers_with_near_ones(tiny_clip):
    with pytest.raises(ValueError, match="did you mean coop"):
        create_method("coo", tiny_clip, ["cat"])


def test_an_unknown_option_answers_with_near_ones(tiny_clip):
    with pytest.raises(ValueError, match="did you mean n_ctx"):
        create_method("coop", tiny_clip, ["cat"], n_cxt=4)


def test_options_refine_a_config(tiny_clip):
    method = create_method("coop", tiny_clip, ["cat", "dog"], CoOpConfig(n_ctx=3), class_specific=True)
    assert method.context.ctx.shape == (2, 3, tiny_clip.text_width)


def test_another_method_s_config_is_refused(tiny_clip):
    with pytest.raises(ValueError, match="takes its options as ZeroShotConfig"):
        create_method("zero_shot", tiny_clip, ["cat"], CoOpConfig())


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="already"):
        register_method("coop", CoOpConfig)(CoOp)


def test_a_class_set_keeps_its_templates(tiny_clip):
    classes = ClassSet(("cat",), ("a drawing of a {}.",))
    assert create_method("zero_shot", tiny_clip, classes).classes is classes
    other = create_method("zero_shot", tiny_clip, classes, templates=["a {}."])
    assert other.classes.templates == ("a {}.",)


@pytest.mark.parametrize("name", list_methods())
def test_options_are_a_frozen_dataclass_with_defaults(name):
    config = method_config(name)
    assert dataclasses.is_dataclass(config)
    assert config.__dataclass_params__.frozen
    assert config() == config()
    assert issubclass(method_class(name), AdaptedCLIP)

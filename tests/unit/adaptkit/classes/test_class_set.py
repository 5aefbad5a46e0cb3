"""Class names and templates: what is accepted, and the ensemble's order of averaging."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import ClassSet, class_weights
from adaptkit.classes.class_set import as_class_set


@pytest.mark.parametrize(
    ("names", "templates", "message"),
    [
        ((), ("a {}.",), "no classes"),
        (("cat", " "), ("a {}.",), "class 1 has the name ' '"),
        (("cat",), (), "no templates"),
        (("cat",), ("a cat.",), "exactly one {}"),
        (("cat",), ("{} and {}.",), "exactly one {}"),
        (("cat",), ("a {c} of {}",), "exactly one {} where the class name goes, and no other brace"),
        (("cat",), ("a {} {",), "no other brace"),
        (("cat",), ("a {{}}",), "no other brace"),
        (("cat",), ("a {0}",), "exactly one {}"),
        (("cat",), (5,), "exactly one {}"),
    ],
)
def test_what_makes_no_prompt_is_refused(names, templates, message):
    with pytest.raises(ValueError, match=message):
        ClassSet(names, templates)


def test_one_string_is_not_a_list_of_names():
    with pytest.raises(ValueError, match="give a list of names"):
        as_class_set("cat")


def test_underscores_are_read_as_spaces_and_kept_in_the_names():
    classes = ClassSet(("annual_crop_land",))
    assert classes.readable == ("annual crop land",)
    assert classes.classnames == ("annual_crop_land",)


def test_an_ensemble_averages_unit_vectors(tiny_clip):
    templates = ("a photo of a {}.", "art of the {}.")
    each = [F.normalize(tiny_clip.encode_text([t.format(n) for n in ("cat", "dog")]), dim=-1) for t in templates]
    expected = F.normalize(torch.stack(each).mean(dim=0), dim=-1)
    torch.testing.assert_close(class_weights(tiny_clip, ClassSet(("cat", "dog"), templates)), expected)


def test_class_weights_record_no_gradient(tiny_clip):
    assert not class_weights(tiny_clip, ClassSet(("cat",))).requires_grad


@pytest.mark.parametrize(
    "sentences", ["ab", 3, [["a"]], [["a"], "b"], [["a"], []], [["a"], [3]], [["a"], [" "]], [3, 4]]
)
def test_sentences_that_are_not_one_list_per_class_are_refused(sentences):
    with pytest.raises(ValueError, match="sentences"):
        ClassSet(("cat", "dog"), sentences=sentences)


def test_templates_do_not_replace_sentences_in_silence():
    classes = ClassSet(("cat", "dog"), sentences=(("a cat.",), ("a dog.",)))
    with pytest.raises(ValueError, match="sentences of their own; give one of them"):
        as_class_set(classes, ["art of a {}."])
    assert as_class_set(classes) is classes

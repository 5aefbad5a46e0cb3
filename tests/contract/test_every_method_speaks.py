"""Names that prompts say in the place of the classes' names: every registered method says them, and answers do not."""

import pytest
import torch

import adaptkit
from adaptkit import ClassSet, Support, create_method, list_methods
from tests.conftest import CLASSES
from tests.helpers.models import consumed

ALIASES = ("c3", "c5", "c4", "c1", "c2")  # in the alphabetical order of CLASSES, by which sinc_meta places classes
BY_NAME = {"classify_by_description"}  # looks descriptors up by the class's own name


def made(name, backbone, classes, batch):
    torch.manual_seed(0)
    method = create_method(name, backbone, classes)
    method.prepare(Support(consumed(method, batch[0]), batch[1]))
    return method.eval()


@pytest.mark.parametrize("name", list_methods())
@pytest.mark.filterwarnings("ignore:the file of descriptors says nothing of the class")
def test_spoken_names_are_what_prompts_say_and_are_saved(name, tiny_clip, batch, tmp_path):
    spoken, named = (
        made(name, tiny_clip, classes, batch) for classes in (ClassSet(ALIASES, spoken=CLASSES), ClassSet(CLASSES))
    )
    images = batch[0]
    with torch.no_grad():
        if name not in BY_NAME:
            torch.testing.assert_close(spoken(images), named(images))
        spoken.save_pretrained(tmp_path / name)
        again = adaptkit.load(tmp_path / name, tiny_clip)
        torch.testing.assert_close(again(images), spoken(images))
    assert again.classes.classnames == ALIASES
    assert again.classes.spoken == CLASSES
    assert {answer for answer in again.predict(images[:1])[0].labels} <= set(ALIASES)

"""What every registered head promises, on every family of backbones; there is no list to edit here."""

import json
import sys

import pytest
import torch
from PIL import Image
from torch import Tensor

from adaptkit import (
    ArtefactError,
    FrozenCLIP,
    Head,
    create_head,
    head_class,
    head_config,
    list_heads,
    load,
    load_backbone,
    load_head,
)
from tests.contract.test_every_method import FAMILIES
from tests.helpers.models import build


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> tuple[FrozenCLIP, Tensor]:
    """A backbone and images (4, 3, H, W)."""
    size = FAMILIES[request.param]
    return build(request.param), torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))


def made(name: str, backbone: FrozenCLIP) -> Head:
    """The head, or a skip where the backbone lacks what it needs: then the refusal is what is tested."""
    torch.manual_seed(0)
    try:
        return create_head(name, backbone)
    except ValueError as refusal:
        assert backbone.name in str(refusal), f"the refusal does not name the backbone: {refusal}"
        pytest.skip(f"refused: {refusal}")


@pytest.mark.parametrize("name", list_heads())
def test_it_answers_every_image_alone_and_in_json(name, family):
    backbone, images = family
    head = made(name, backbone).eval()
    with torch.no_grad():
        outputs = head(images)
        torch.testing.assert_close(head(images[1:2]), outputs[1:2], rtol=1e-4, atol=1e-4)
    assert outputs.isfinite().all()
    answers = head.answers(images, batch_size=3)
    assert len(answers) == len(images)
    assert json.loads(json.dumps(answers, allow_nan=False)) == answers
    assert all(isinstance(key, str) for answer in answers for key in answer)


@pytest.mark.parametrize("name", list_heads())
def test_it_is_saved_and_loaded(name, family, tmp_path):
    backbone, images = family
    head = made(name, backbone)
    with torch.no_grad():
        for parameter in head.learnt_parameters().values():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        expected = head.eval()(images)
    head.save_pretrained(tmp_path / "head")
    restored = load_head(tmp_path / "head", backbone)
    with torch.no_grad():
        assert torch.equal(restored(images), expected)
    with pytest.raises(ArtefactError, match="load_head"):
        load(tmp_path / "head", backbone)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.parametrize("name", list_heads())
def test_the_card_says_how_it_is_used(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (48, 48)).save("photo.jpg")
    torch.manual_seed(0)
    create_head(name, load_backbone("adaptkit-mini")).save_pretrained("path/to/this/folder")
    card = (tmp_path / "path" / "to" / "this" / "folder" / "README.md").read_text(encoding="utf-8")
    assert "load_head" in card
    assert "set_classes" not in card
    exec(card.partition("```python\n")[2].partition("```")[0], {})


@pytest.mark.parametrize("name", list_heads())
def test_a_name_is_the_stem_of_its_file_and_of_its_options(name):
    assert name in head_class(name).__module__.split(".")[-2:]  # its file, or its folder
    doc = sys.modules[head_class(name).__module__].__doc__ or ""
    assert "arXiv" in doc or "https://" in doc
    assert head_config(name)() is not None

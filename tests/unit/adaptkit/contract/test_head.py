"""A head of one's own: made, asked, saved, loaded, and asked on the command line."""

import json

import pytest
import torch
from PIL import Image

import adaptkit
from adaptkit.options import option, options
from tests.helpers.registrations import forget_registrations
from trainers.cli import main


@options
class LengthConfig:
    scale: float = option(1.0, "Factor of the length.", above=0)


class Length(adaptkit.Head):
    """The length of an image's feature, times a learnt factor."""

    consumes = "features"

    def __init__(self, backbone, config):
        super().__init__(backbone)
        self.factor = torch.nn.Parameter(torch.tensor(config.scale))

    def outputs(self, x):
        return self.factor * x.norm(dim=-1)

    def described(self, outputs):
        return [{"length": float(length)} for length in outputs]


@pytest.fixture
def length(monkeypatch):
    forget_registrations(monkeypatch)
    adaptkit.register_head("length", LengthConfig, touches="after")(Length)


@pytest.mark.usefixtures("length")
def test_a_head_is_made_asked_saved_and_loaded(tmp_path, capsys):
    backbone = adaptkit.load_backbone("adaptkit-mini")
    head = adaptkit.create_head("length", backbone, scale=2.0)
    assert "length" in adaptkit.list_heads()
    picture = Image.new("RGB", (40, 30), (200, 10, 10))
    (answer,) = head.answers(picture)
    head.save_pretrained(tmp_path / "head")
    assert adaptkit.load_head(tmp_path / "head", backbone).answers([picture]) == [answer]

    picture.save(tmp_path / "red.png")
    (tmp_path / "no.png").write_text("no image")
    assert main(["predict", str(tmp_path / "head"), "--json", str(tmp_path / "red.png")]) == 0
    assert json.loads(capsys.readouterr().out)["length"] == pytest.approx(answer["length"])
    assert main(["predict", str(tmp_path / "head"), str(tmp_path / "no.png"), str(tmp_path / "red.png")]) == 2
    out, err = capsys.readouterr()
    assert "red.png: length" in out
    assert "no.png" in err
    assert main(["predict", str(tmp_path / "head"), str(tmp_path / "red.png"), "--classes", "a,b"]) == 2
    assert "--classes is for adapters that tell classes apart" in capsys.readouterr().err
    assert main(["explain", str(tmp_path / "head"), str(tmp_path / "red.png")]) == 2
    assert "is a head" in capsys.readouterr().err


@pytest.mark.usefixtures("length")
def test_names_options_and_losses_that_a_head_does_not_have_are_refused(tmp_path):
    backbone = adaptkit.load_backbone("adaptkit-mini")
    with pytest.raises(ValueError, match="unknown head 'lenght'; did you mean length"):
        adaptkit.create_head("lenght", backbone)
    with pytest.raises(ValueError, match="length has no option 'sacle'; did you mean scale"):
        adaptkit.create_head("length", backbone, sacle=1.0)
    with pytest.raises(ValueError, match="needs a FrozenCLIP"):
        adaptkit.create_head("length", backbone.model)
    with pytest.raises(TypeError, match="learns nothing"):
        adaptkit.create_head("length", backbone).loss(torch.ones(1, 4), torch.ones(1))
    with pytest.raises(ValueError, match="'coop' names a method already"):
        adaptkit.register_head("coop", LengthConfig)(Length)
    adaptkit.create_method("zero_shot", backbone, ["a", "b"]).save_pretrained(tmp_path / "method")
    with pytest.raises(adaptkit.ArtefactError, match="is the method 'zero_shot'"):
        adaptkit.load_head(tmp_path / "method", backbone)

"""Alignment from files to an adapter: sources, rates, checkpoints, and what is refused."""

import gzip
import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

import adaptkit
from adaptkit.weights.locality_alignment import AlignmentConfig, LocalityAligner, LocalityAlignmentConfig
from datasets_fewshot import Split
from tests.helpers.models import build
from trainers.alignment.images import unlabelled_images
from trainers.alignment.main import SUMMARY_FILE, Alignment, align, align_into, build_optimizer
from trainers.cli.command import run as main
from trainers.config.settings import CheckpointConfig

SMALL = Alignment(
    LocalityAlignmentConfig(r=2, alpha=2.0), AlignmentConfig(decoder_layers=1), epochs=2, batch_size=2, min_area=1.0
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of six drawn images at two depths, without labels."""
    place = tmp_path_factory.mktemp("images")
    (place / "deeper").mkdir()
    for number in range(6):
        path = place / ("deeper" if number % 2 else ".") / f"{number}.png"
        Image.effect_noise((40, 40), 20 + 30 * number).convert("RGB").save(path)
    return place


@pytest.fixture(scope="module")
def images(folder):
    return unlabelled_images(str(folder))


def test_a_folder_a_table_a_name_and_pairs_are_sources(folder, tmp_path):
    assert len(unlabelled_images(str(folder)).split.train) == 6
    table = folder / "some.csv"
    table.write_text("image\n0.png\n2.png\n", encoding="utf-8")
    assert [item.path for item in unlabelled_images(str(table)).split.train] == ["0.png", "2.png"]
    table.unlink()
    assert len(unlabelled_images("mini_pairs").split.train) > 1000
    assert unlabelled_images("icons").split.val


def test_what_holds_no_images_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        unlabelled_images(str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no image"):
        unlabelled_images(str(tmp_path / "empty"))
    (tmp_path / "texts.txt.gz").write_bytes(gzip.compress(b"a cat\n"))
    with pytest.raises(ValueError, match="list of texts; an alignment learns from images"):
        unlabelled_images(str(tmp_path / "texts.txt.gz"))


def test_updates_and_decoder_have_rates_of_their_own_and_vectors_no_decay(tiny_clip):
    aligner = LocalityAligner(adaptkit.create_method("locality_alignment", tiny_clip, None))
    groups = build_optimizer(aligner, Alignment(lr=4e-4, decoder_lr=1e-4)).param_groups
    assert sum(len(group["params"]) for group in groups) == len(aligner.learnt_parameters())
    found = {(group["share"], group["weight_decay"]): group["params"] for group in groups}
    assert found.keys() == {(1.0, 0.01), (0.25, 0.01), (0.25, 0.0)}
    assert len(found[1.0, 0.01]) == len(aligner.method.learnt_parameters())
    assert all(parameter.ndim == 1 for parameter in found[0.25, 0.0])
    assert {tuple(group["betas"]) for group in groups} == {(0.9, 0.95)}


def test_an_interrupted_training_goes_on_to_the_same_bits(tiny_clip, images, tmp_path, monkeypatch):
    whole = align(images, tiny_clip, SMALL)
    steps = []
    original = LocalityAligner.backward

    def stopping(self, x, labels):
        steps.append(len(x))
        if len(steps) == 5:
            raise KeyboardInterrupt
        return original(self, x, labels)

    out, often = tmp_path / "out", CheckpointConfig(seconds=0, steps=2)
    monkeypatch.setattr(LocalityAligner, "backward", stopping)
    with pytest.raises(KeyboardInterrupt):
        align_into(out, images, tiny_clip, SMALL, checkpoint=often)
    assert list((out / "checkpoints").glob("*.safetensors"))
    resumed = align_into(out, images, tiny_clip, SMALL, checkpoint=often)
    assert len(steps) == 5 + 2, "four steps were kept"
    assert resumed.losses == whole.losses
    for name, tensor in whole.method.learnt_state().items():
        assert torch.equal(tensor, resumed.method.learnt_state()[name]), name
    assert not list(out.glob("checkpoints/*"))
    facts = json.loads((out / SUMMARY_FILE).read_text(encoding="utf-8"))
    assert facts["c"] == whole.scale
    assert facts["resolution"] == [32, 32]
    assert facts["weights_hash"] == tiny_clip.weights_hash
    assert facts["settings"]["loss"]["masks"] == "uniform"


def test_a_folder_with_other_things_is_left_alone(tiny_clip, images, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds 'mine.txt' and is no adapter"):
        align_into(tmp_path, images, tiny_clip, SMALL)


def test_the_command_aligns_saves_and_is_loaded(folder, tmp_path, tiny_clip, monkeypatch, capsys):
    monkeypatch.setattr(adaptkit, "load_backbone", lambda *args, **options: tiny_clip)
    out = str(tmp_path / "out")
    words = ["align", str(folder), "--out", out, "--epochs", "1", "--batch-size", "4", "--rank", "2", "--device", "cpu"]
    assert main([*words, "--scope", "patch", "--masks", "bernoulli", "--decoder-layers", "1", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["images"] == 6
    assert facts["settings"]["method"]["scope"] == "patch"
    loaded = adaptkit.load(out, tiny_clip)
    assert loaded.patch_tokens(torch.randn(1, 3, 32, 32)).shape == (1, 16, 64)
    assert (tmp_path / "out" / "README.md").read_text(encoding="utf-8").count("Aligned without labels on 6 images") == 1


def test_a_resnet_is_a_clear_error_and_nothing_is_written(folder, tmp_path, monkeypatch, capsys):
    resnet = build("modified_resnet")
    monkeypatch.setattr(adaptkit, "load_backbone", lambda *args, **options: resnet)
    assert main(["align", str(folder), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    assert "needs an image tower with the blocks of a vision transformer" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_training_images_there_is_nothing_to_align_on(tiny_clip, images):
    with pytest.raises(ValueError, match="no training images"):
        align(replace(images, split=Split((), (), ())), tiny_clip, SMALL)

"""The embedded model as it is shipped, and the script that builds it."""

from __future__ import annotations

import gzip
import hashlib
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file

from trainers.studies.pretraining.mini_augment import on_white, random_views
from trainers.studies.pretraining.mini_pairs import (
    DEV_FAMILIES,
    Pair,
    PairSampler,
    caption,
    hold_out,
    kind_of,
    read_pairs,
)
from trainers.studies.pretraining.pretrain_mini import MODEL_CONFIG, patch_dropout_at, shortened, write_vocabulary

MINI = Path(str(files("adaptkit"))) / "mini"
GROUP = "animals-nature"


def pair(name: str, family: str = "noto", mono: bool = False, group: str | None = GROUP) -> Pair:
    return Pair(family, mono, name, ("pet", "soft"), group, "animal-mammal", "1F408", "noto@1")


def test_every_shipped_file_has_its_recorded_checksum() -> None:
    lines = (MINI / "SHA256SUMS").read_text().splitlines()
    recorded = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert {"open_clip_model.safetensors", "open_clip_config.json", "NOTICE"} <= set(recorded)
    for name, digest in recorded.items():
        assert hashlib.sha256((MINI / name).read_bytes()).hexdigest() == digest, name


def test_open_clip_loads_the_shipped_folder() -> None:
    model = open_clip.create_model(f"local-dir:{MINI}")
    assert model.visual.image_size == (48, 48)
    assert model.context_length == 24
    weights = load_file(MINI / "open_clip_model.safetensors")
    assert all(value.dtype == torch.float16 and value.isfinite().all() for value in weights.values())
    assert json.loads((MINI / "open_clip_config.json").read_text())["model_cfg"] == MODEL_CONFIG


def test_shipped_vocabulary_is_the_head_of_clips_own_and_ends_with_eot() -> None:
    tokenizer = SimpleTokenizer(bpe_path=str(MINI / "bpe_simple_vocab_8192.txt.gz"), context_length=24)
    assert tokenizer.vocab_size == 8706
    assert tokenizer.eot_token_id == 8705
    assert "cat</w>" in tokenizer.encoder
    assert tokenizer(["a photo of a cat."]).argmax() == 7  # the last of eight tokens


def test_vocabulary_is_cut_the_same_way_every_time(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    name = "bpe_simple_vocab_8192.txt.gz"
    assert gzip.decompress((tmp_path / name).read_bytes()) == gzip.decompress((MINI / name).read_bytes())


def test_training_record_names_what_was_run() -> None:
    record = json.loads((MINI / "training.json").read_text())
    assert record["pairs_seen"] == record["steps"] * record["batch_size"]
    assert record["seconds"] > 0
    assert len(record["loss_curve"]) <= 100


def write_pairs(folder: Path, family: str) -> None:
    row = {"family": family, "mono": False, "name": "Cat: Face", "keywords": [], "group": None, "subgroup": None}
    (folder / "pairs.jsonl").write_text(json.dumps({**row, "hexcode": None, "source": "x@1"}) + "\n")
    np.save(folder / "images.npy", np.zeros((1, 64, 64, 4), np.uint8))


def test_a_family_kept_for_testing_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path, "twemoji")
    with pytest.raises(ValueError, match="twemoji"):
        read_pairs(tmp_path)


def test_names_are_read_in_the_spelling_of_class_names(tmp_path: Path) -> None:
    write_pairs(tmp_path, "noto")
    _, pairs = read_pairs(tmp_path)
    assert pairs[0].name == "cat face"


def test_development_drawings_never_reach_a_batch() -> None:
    pairs = [pair(f"name {i}", family) for i in range(400) for family in ("noto", *DEV_FAMILIES)]
    train, held = hold_out(pairs, seed=1)
    assert len(held) == 300
    assert all(pairs[row].family in DEV_FAMILIES for row in held)
    drawn = np.concatenate([PairSampler(pairs, train).draw(64, np.random.default_rng(step))[0] for step in range(20)])
    assert not set(drawn) & set(held)


def test_equal_names_get_equal_labels_and_a_third_of_a_batch_one_group() -> None:
    pairs = [pair(f"{group} {i}", group=group) for group in (GROUP, "objects") for i in range(20) for _ in range(3)]
    rows, labels = PairSampler(pairs, np.arange(len(pairs))).draw(64, np.random.default_rng(0))
    names = [pairs[row].name for row in rows]
    assert all(
        (a == b) == (x == y) for a, x in zip(names, labels, strict=True) for b, y in zip(names, labels, strict=True)
    )
    assert len({pairs[row].group for row in rows[-21:]}) == 1


def test_captions_speak_of_the_drawing() -> None:
    rng = np.random.default_rng(0)
    captions = {caption(pair("tabby cat", mono=True), rng) for _ in range(500)}
    assert {"a photo of a tabby cat.", "tabby cat", "a sketch of a tabby cat."} <= captions
    assert all(any(word in text for word in ("tabby cat", "pet", "soft", "mammal")) for text in captions)


@pytest.mark.parametrize(
    ("subgroup", "words"),
    [("animal-mammal", "mammal"), ("face-smiling", "smiling face"), ("food-fruit", "fruit"), ("plant-other", "plant")],
)
def test_subgroups_become_words(subgroup: str, words: str) -> None:
    assert kind_of(subgroup) == words


def test_mirroring_spares_what_has_a_direction() -> None:
    assert pair("cat").flippable
    assert not pair("left arrow").flippable
    assert not pair("cat", group="flags").flippable


def test_transparent_drawing_is_white_for_evaluation() -> None:
    white = on_white(torch.zeros(1, 64, 64, 4, dtype=torch.uint8), 48)
    full = on_white(torch.full((1, 64, 64, 4), 255, dtype=torch.uint8), 48)
    torch.testing.assert_close(white, full)
    assert white.shape == (1, 3, 48, 48)


def test_views_are_a_function_of_the_seed() -> None:
    rgba = torch.randint(0, 256, (4, 64, 64, 4), dtype=torch.uint8)
    mono, flippable = torch.tensor([True, False, True, False]), torch.tensor([True, True, False, False])
    views = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        views.append(random_views(rgba, mono, flippable, 48))
    assert views[0].shape == (4, 3, 48, 48)
    assert views[0].isfinite().all()
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])


def test_a_cut_caption_keeps_its_end_of_text() -> None:
    tokens = torch.zeros(2, 24, dtype=torch.int64)
    tokens[0, :3] = torch.tensor([8704, 5, 8705])
    tokens[1, :20] = torch.tensor([8704, *range(1, 19), 8705])
    cut = shortened(torch.stack([tokens[0], tokens[1]]))
    assert cut.shape == (2, 16)
    assert cut.max(dim=1).values.tolist() == [8705, 8705]
    assert cut.argmax(dim=1).tolist() == [2, 15]


def test_no_patch_is_left_out_at_the_end_of_training() -> None:
    assert patch_dropout_at(0.0) == 0.5
    assert patch_dropout_at(0.95) == 0.0

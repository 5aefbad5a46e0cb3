"""A diagnosis compares an adapter with its backbone as it was loaded, item by item; its page holds all it shows."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

import adaptkit
from datasets_fewshot.images.read import load_image
from datasets_fewshot.pair_tests.load import load_pair_tests
from datasets_fewshot.pairs.pair_set import Captioned, PairSet
from tests.helpers.models import build
from trainers.pairs.diagnosis.blind import BlindRequest, listed_images, read_features
from trainers.pairs.diagnosis.main import Questions, diagnose
from trainers.pairs.diagnosis.page import page
from trainers.pairs.diagnosis.report import as_json, report
from trainers.pairs.diagnosis.tested import ALL

EVIL = "<script>alert('x')</script>"


@pytest.fixture
def tests(tmp_path):
    """All forms, of images of one colour each."""
    for number in range(8):
        Image.new("RGB", (32, 32), (30 * number, 255 - 30 * number, 90)).save(tmp_path / f"{number}.png")
    rows = [
        {"subset": f"nouns {EVIL}", "image": f"{n}.png", "positives": [f"a {EVIL} {n}"], "negatives": [f"dog {n}"]}
        for n in range(8)
    ]
    rows += [{"subset": "more", "image": f"{n}.png", "positives": ["cat"], "negatives": ["ox"]} for n in range(4)]
    two = {"caption": "one cat", "caption2": "a cat", "negative_caption": "a dog"}
    rows += [{"subset": "both", "image": f"{n}.png", **two} for n in range(8)]
    rows += [{"subset": "pairs", "images": [f"{n}.png", f"{n + 1}.png"], "texts": ["red", "green"]} for n in range(6)]
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return load_pair_tests(path)


def changed_adapter(backbone, name="clip_lora"):
    """An adapter that has learnt something else than nothing."""
    method = adaptkit.create_method(name, backbone, None)
    generator = torch.Generator().manual_seed(0)
    for parameter in method.learnt_parameters().values():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return method.eval()


@pytest.mark.parametrize("name", ["clip_lora", "adapter", "peft", "vpt"])
def test_before_is_the_backbone_as_it_was_loaded(tests, name):
    backbone = build("clip_vit")
    alone = diagnose(backbone, Questions((tests,)))
    both = diagnose(changed_adapter(backbone, name), Questions((tests,)), "mine")
    before = [row.before for row in both.tested[0].comparisons]
    assert before == [row.before for row in alone.tested[0].comparisons]
    assert [row.after for row in both.tested[0].comparisons] != before
    assert all(row.after is None for row in alone.tested[0].comparisons)


def test_items_that_broke_are_those_that_the_counts_say(tests):
    one = diagnose(changed_adapter(build("clip_vit")), Questions((tests,))).tested[0]
    rows = {(row.subset, row.metric): row for row in one.comparisons}
    main = [
        rows[subset.name, metric]
        for subset, metric in zip(tests.subsets, ("pair accuracy", "pair accuracy", "ITT", "group score"), strict=True)
    ]
    assert len(one.broken) == sum(row.changes.broken for row in main)
    assert len(one.mended) == sum(row.changes.mended for row in main)
    together = rows[ALL, "pair accuracy"]
    assert together.before.right == main[0].before.right + main[1].before.right
    (mean,) = one.means
    assert mean.before == pytest.approx((main[0].before.percent + main[1].before.percent) / 2)


def test_the_page_holds_everything_and_escapes_what_it_is_told(tests):
    found = diagnose(changed_adapter(build("clip_vit")), Questions((tests,)), EVIL)
    assert found.tested[0].broken or found.tested[0].mended
    text = page(found)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert text.count("data:image/jpeg;base64,") >= len(found.tested[0].broken)
    assert "default-src 'none'" in text
    json.dumps(as_json(found), allow_nan=False)
    assert "p is of McNemar's exact test" in report(found)


def test_recall_and_the_guard_are_taken_with_and_without_the_adapter(tests):
    listed = tuple(Captioned(path, (f"picture {path}",), path) for path in tests.images)
    pairs = PairSet("own", tests.image_root, (), (), listed)
    guard = few_classes()
    found = diagnose(changed_adapter(build("clip_vit")), Questions(pairs=pairs, guard=guard))
    assert found.recall_after is not None
    assert found.recall_before != found.recall_after
    assert found.guard.before.items == len(guard.split.test)
    with pytest.raises(ValueError, match="no images for testing"):
        diagnose(build("clip_vit"), Questions(pairs=PairSet("own", tests.image_root, listed, (), ())))


def few_classes():
    from dataclasses import replace

    from datasets_fewshot import load_dataset

    dataset = load_dataset("emoji_activities")
    return replace(dataset, split=replace(dataset.split, test=dataset.split.test[:6]))


def test_what_changes_no_feature_is_refused(tests):
    backbone = build("clip_vit")
    with pytest.raises(ValueError, match="no image and no text"):
        diagnose(adaptkit.create_method("taskres", backbone, ["a", "b"]), Questions((tests,)))
    with pytest.raises(ValueError, match="is a head"):
        diagnose(adaptkit.create_head("uniqa_adapter", backbone), Questions((tests,)))


def test_blind_pairs_are_found_in_a_folder(tests, tmp_path):
    names = listed_images(tests.image_root)
    assert names == [f"{number}.png" for number in range(8)]
    np.save(tmp_path / "other.npy", np.eye(8, dtype=np.float64))
    request = BlindRequest(tests.image_root, tmp_path / "other.npy", 5, 0.05, 0.6)
    found = diagnose(build("clip_vit"), Questions(blind=request))
    assert 0 < len(found.blind) <= 5
    assert all(pair.other == 0 for pair in found.blind)
    assert found.blind[0].images[0] in report(found)
    assert page(found).count("data:image/jpeg") == 2 * len(found.blind)
    assert load_image(tests.image_root / names[0]).size == (32, 32)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"", "no .npy file"), (b"abc", "no .npy file"), (np.zeros(3), "no matrix"), (np.zeros((2, 2), int), "no matrix")],
)
def test_files_that_are_no_features_are_refused(tmp_path, content, complaint):
    path = tmp_path / "bad.npy"
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    with pytest.raises(ValueError, match=complaint):
        read_features(path)


def test_objects_in_a_file_of_features_are_never_made(tmp_path):
    np.save(tmp_path / "bad.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"no \.npy file"):
        read_features(tmp_path / "bad.npy")

"""Warm start: which adapters a run may start from, and how its identity tells."""

import dataclasses

import pytest

from adaptkit import create_method
from tests.conftest import CLASSES
from tests.helpers.models import build
from trainers.config.load import load_bench
from trainers.runs.start import check_start, load_start


def run_of(*words):
    return load_bench(None, ["METHODS", "[promptsrc]", *words]).runs[0]


def test_an_option_that_differs_is_named_with_both_values(tiny_clip, tmp_path):
    create_method("coop", tiny_clip, CLASSES, n_ctx=3).save_pretrained(tmp_path / "first")
    start = load_start(tmp_path / "first", tiny_clip)
    run = load_bench(None, ["METHODS", "[coop]", "COOP.N_CTX", "4", "COOP.CTX_INIT", "''"]).runs[0]
    with pytest.raises(ValueError, match=r"'first' .*learnt with COOP\.N_CTX 3, and now it is 4"):
        check_start(start, run, CLASSES)


def test_options_that_count_epochs_may_differ(tiny_clip, tmp_path):
    run = run_of("PROMPTSRC.AVERAGE_MEAN", "4", "PROMPTSRC.AVERAGE_STD", "2")
    create_method("promptsrc", tiny_clip, CLASSES, run.options).save_pretrained(tmp_path / "first")
    start = load_start(tmp_path / "first", tiny_clip)
    check_start(start, run_of("PROMPTSRC.AVERAGE_MEAN", "9", "PROMPTSRC.AVERAGE_STD", "2"), CLASSES)


def test_an_adapter_of_another_backbone_is_refused(tiny_clip, tmp_path):
    create_method("taskres", tiny_clip, CLASSES).save_pretrained(tmp_path / "first")
    with pytest.raises(ValueError, match="was learnt on"):
        load_start(tmp_path / "first", build("timm_tower"))


def test_an_adapter_without_learnt_tensors_is_refused(tiny_clip, tmp_path):
    create_method("zero_shot", tiny_clip, CLASSES).save_pretrained(tmp_path / "first")
    with pytest.raises(ValueError, match="learns nothing, so there is nothing to start from"):
        load_start(tmp_path / "first", tiny_clip)


def test_other_tensors_are_another_start(tiny_clip, tmp_path):
    first = create_method("taskres", tiny_clip, CLASSES)
    first.save_pretrained(tmp_path / "first")
    first.load_learnt_state({name: tensor + 1 for name, tensor in first.learnt_state().items()})
    first.save_pretrained(tmp_path / "second")
    starts = [load_start(tmp_path / name, tiny_clip) for name in ("first", "second", "first")]
    assert starts[0].sha256 == starts[2].sha256 != starts[1].sha256
    assert dataclasses.asdict(starts[0])["name"] == "first"

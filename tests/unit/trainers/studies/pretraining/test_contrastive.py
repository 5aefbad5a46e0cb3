"""The contrastive trainer: its schedules, its loss, and that stopping and resuming changes nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor, nn

from adaptkit.fdt import FDTModelConfig
from trainers.studies.pretraining.contrastive import (
    ContrastiveConfig,
    ContrastiveRun,
    PairBatch,
    clip_loss,
    encode_short_text,
    learning_rate,
    progress_at,
    train_contrastive,
)
from trainers.studies.pretraining.contrastive_fdt import CLIPWithFDT, fdt_loss, patch_rows

CONFIG = ContrastiveConfig(steps=12, warmup_steps=2, autocast="none", log_steps=3, ema_decay=0.5)


def tiny_model() -> CLIP:
    torch.manual_seed(0)
    return CLIP(
        embed_dim=8,
        vision_cfg={"image_size": 8, "patch_size": 4, "width": 16, "layers": 1, "head_width": 8},
        text_cfg={"context_length": 10, "vocab_size": 20, "width": 16, "heads": 2, "layers": 1},
    )


def batch_at(step: int) -> PairBatch:
    labels = torch.arange(6) % 3
    tokens = torch.cat([torch.randint(1, 19, (6, 4)), torch.full((6, 1), 19)], dim=1)
    return PairBatch(torch.randn(6, 3, 8, 8) + labels[:, None, None, None], tokens, labels)


def loss_fn(model: CLIP, batch: PairBatch, progress: float) -> Tensor:
    text_features = encode_short_text(model, batch.tokens)
    return clip_loss(model.encode_image(batch.images), text_features, model.logit_scale, batch.labels)


def test_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, whole_averaged = tiny_model(), tiny_model()
    train_contrastive(whole, batch_at, CONFIG, loss_fn, whole_averaged)

    class Stopped(Exception):
        pass

    def stop_at_first_checkpoint(run: ContrastiveRun, averaged: CLIP, event: str) -> None:
        if event == "checkpoint":
            raise Stopped

    often = replace(CONFIG, checkpoint_seconds=0.0)
    with pytest.raises(Stopped):
        train_contrastive(
            tiny_model(), batch_at, often, loss_fn, tiny_model(), tmp_path / "run.pt", stop_at_first_checkpoint
        )
    resumed, resumed_averaged = tiny_model(), tiny_model()
    run = train_contrastive(resumed, batch_at, CONFIG, loss_fn, resumed_averaged, tmp_path / "run.pt")
    assert run.step == CONFIG.steps
    assert run.pairs == 6 * CONFIG.steps
    for left, right in ((whole, resumed), (whole_averaged, resumed_averaged)):
        assert all(torch.equal(a, b) for a, b in zip(left.parameters(), right.parameters(), strict=True))


def test_training_lowers_the_loss() -> None:
    fixed = batch_at(0)
    run = train_contrastive(tiny_model(), lambda step: fixed, replace(CONFIG, steps=60, lr=1e-2), loss_fn, tiny_model())
    assert run.curve[-1][1] < 0.7 * run.curve[0][1]


def test_averaged_model_is_the_moving_average_of_the_weights() -> None:
    model, averaged, seen = nn.Linear(1, 1), nn.Linear(1, 1), list[Tensor]()

    def watch(model: nn.Linear, batch: PairBatch, progress: float) -> Tensor:
        seen.append(model.weight.detach().clone())
        return model.weight.square().sum()

    config = replace(CONFIG, steps=3, lr=0.1)
    train_contrastive(model, batch_at, config, watch, averaged)
    seen.append(model.weight.detach())
    expected = seen[0]
    for step, weight in enumerate(seen[1:]):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(averaged.weight, expected)


def test_loss_that_is_not_finite_stops_the_run() -> None:
    with pytest.raises(FloatingPointError, match="step 0"):
        train_contrastive(
            nn.Linear(1, 1), batch_at, CONFIG, lambda model, batch, p: model.weight.sum() * math.nan, nn.Linear(1, 1)
        )


def test_progress_follows_the_deadline_where_it_is_nearer() -> None:
    config = ContrastiveConfig(steps=100, minutes=2.0)
    assert progress_at(50, 30.0, config) == 0.5
    assert progress_at(10, 90.0, config) == 0.75
    assert progress_at(10, 90.0, replace(config, minutes=None)) == 0.1


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    config = ContrastiveConfig(lr=1.0, warmup_steps=10)
    assert learning_rate(4, 0.0, config) == pytest.approx(0.5)
    assert learning_rate(500, 0.5, config) == pytest.approx(0.5)
    assert learning_rate(1000, 1.0, config) == pytest.approx(0.0)


def test_loss_with_distinct_labels_is_symmetric_cross_entropy() -> None:
    image, text = torch.randn(5, 8), torch.randn(5, 8)
    logits = 10.0 * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    target = torch.arange(5)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(clip_loss(image, text, torch.tensor(10.0).log(), target), expected)


def test_pairs_of_one_label_are_positives_of_each_other() -> None:
    image = torch.eye(4)[[0, 0, 1, 1]]
    shared = clip_loss(image, image, torch.tensor(100.0).log(), torch.tensor([0, 0, 1, 1]))
    apart = clip_loss(image, image, torch.tensor(100.0).log(), torch.arange(4))
    torch.testing.assert_close(shared, apart)  # log 2 each: the target is split evenly, as the prediction is
    crossed = clip_loss(image, image[[1, 0, 3, 2]], torch.tensor(100.0).log(), torch.tensor([0, 0, 1, 1]))
    torch.testing.assert_close(crossed, shared)


def test_short_text_gives_the_features_of_padded_text() -> None:
    model, tokens = tiny_model().eval(), batch_at(0).tokens
    padded = F.pad(tokens, (0, 5))
    torch.testing.assert_close(encode_short_text(model, tokens), model.encode_text(padded))


def tiny_with_fdt() -> CLIPWithFDT:
    clip = tiny_model()
    return CLIPWithFDT(clip, FDTModelConfig(n_codes=32, dim=16, temperature=4.0, decay=0.5, decay_steps=30))


def test_finite_discrete_tokens_learn_from_pairs_by_the_same_trainer() -> None:
    fixed, config = batch_at(0), replace(CONFIG, steps=60, lr=1e-2)
    model, averaged = tiny_with_fdt(), tiny_with_fdt()
    before = model.fdt.codebook.detach().clone()
    run = train_contrastive(model, lambda step: fixed, config, partial(fdt_loss, steps=60), averaged)
    assert run.curve[-1][1] < 0.8 * run.curve[0][1]
    assert not torch.equal(model.fdt.codebook, before)
    assert not torch.equal(averaged.fdt.codebook, before)
    assert model.clip.visual.proj.grad is None, "the global features get no loss"


def test_the_temperature_of_a_loss_is_that_of_its_step() -> None:
    model, batch = tiny_with_fdt(), batch_at(0)
    late = replace(model.fdt.config, temperature=2.0)
    expected = CLIPWithFDT(model.clip, late)
    expected.fdt.load_state_dict(model.fdt.state_dict())
    torch.testing.assert_close(fdt_loss(model, batch, 0.5, 60), fdt_loss(expected, batch, 0.0, 60))


def test_patch_rows_are_the_output_of_the_last_block_without_the_class_token() -> None:
    visual, images = tiny_model().visual.eval(), batch_at(0).images
    expected = visual.transformer(visual._embeds(images))[:, 1:]
    torch.testing.assert_close(patch_rows(visual, images), expected)

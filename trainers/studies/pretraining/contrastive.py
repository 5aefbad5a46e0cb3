"""A small contrastive trainer: image-text pairs -> the weights of a dual encoder.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", arXiv:2103.00020, section 2.3:
    logits = exp(logit_scale) * normalise(image_features) @ normalise(text_features).T
    loss   = (cross_entropy(rows) + cross_entropy(columns)) / 2
Departure: pairs with equal labels are positives of one another, so a target row is uniform over them.

Batches are asked for by step number and every step seeds its own random numbers, so a resumed run continues as if it
had never stopped. A run ends after `steps`, or after `minutes` where a deadline is set; the schedules follow whichever
is nearer to its end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from trainers.studies.pretraining.peers import Peers

ALONE = Peers()


@dataclass(frozen=True)
class PairBatch:
    """Image i belongs to caption i, and to every caption whose label equals its own."""

    images: Tensor  # (B, 3, H, W) float32, normalised; this process's share of the batch
    tokens: Tensor  # (B, L) int64, L at most the model's context length; this process's share
    labels: Tensor  # (B,) int64, of the whole batch


@dataclass(frozen=True)
class ContrastiveConfig:
    steps: int = 10_000  # optimiser steps of a full run
    minutes: float | None = None  # deadline in minutes of training time; None: only the steps count
    lr: float = 1.5e-3  # peak learning rate
    warmup_steps: int = 300  # linear warm-up
    weight_decay: float = 0.1  # on matrices only
    clip_norm: float = 1.0  # largest gradient norm
    ema_decay: float = 0.999  # of the averaged weights, per step
    autocast: Literal["none", "bfloat16"] = "bfloat16"
    checkpoint_seconds: float = 240.0  # between two checkpoints
    log_steps: int = 50  # steps averaged into one point of the loss curve
    seed: int = 1


@dataclass
class ContrastiveRun:
    """The progress of a run; a resumed run restores all of it."""

    step: int = 0
    pairs: int = 0
    seconds: float = 0.0
    curve: list[tuple[int, float]] = field(default_factory=list)  # (step, mean loss of the last log_steps)


Model = TypeVar("Model", bound=nn.Module)
Event = Literal["log", "checkpoint", "end"]
BatchSource = Callable[[int], PairBatch]
LossFn = Callable[[Model, PairBatch, float], Tensor]  # (model, batch, progress in [0, 1)) -> scalar
Report = Callable[[ContrastiveRun, Model, Event], None]  # (run, averaged model, what happened)


def train_contrastive(
    model: Model,
    batch_at: BatchSource,
    config: ContrastiveConfig,
    loss_fn: LossFn[Model],
    averaged: Model,
    checkpoint: Path | None = None,
    report: Report[Model] | None = None,
    peers: Peers = ALONE,
) -> ContrastiveRun:
    """Train `model` in place, keep the moving average of its weights in `averaged`, and return the run's progress.

    Args:
        batch_at: step -> batch; called under that step's seed, so it may draw from torch's global generator.
        averaged: a second instance of the model's class; it receives the averaged weights, which evaluate better.
        checkpoint: file to resume from if it exists, and to write to, atomically; None means no checkpoints.
        report: called after every `log_steps` steps, after every checkpoint and at the end.
        peers: the processes that share each batch; the first one writes, reports and keeps the time.

    Raises:
        FloatingPointError: if the loss is not finite.
    """
    optimizer = torch.optim.AdamW(
        _decay_groups(model, config.weight_decay), lr=config.lr, betas=(0.9, 0.98), fused=True
    )
    averaged.load_state_dict(model.state_dict())
    averaged.requires_grad_(False).eval()
    run = ContrastiveRun()
    if checkpoint is not None and checkpoint.exists():
        run = _resume(checkpoint, model, averaged, optimizer)
    model.train()
    started, last_saved, recent = time.monotonic() - run.seconds, time.monotonic(), list[float]()
    while (progress := peers.agree(progress_at(run.step, run.seconds, config))) < 1.0:
        torch.manual_seed((config.seed * 1_000_003 + run.step) * peers.count + peers.rank)
        batch = batch_at(run.step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(run.step, progress, config)
        with (
            torch.autocast(batch.images.device.type, torch.bfloat16, enabled=config.autocast == "bfloat16"),
            sdpa_kernel(SDPBackend.MATH),  # at a few dozen tokens the fused CPU kernel costs more than it saves
        ):
            loss = loss_fn(model, batch, progress)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        peers.sum_gradients(model)
        nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        _average(averaged, model, min(config.ema_decay, (1 + run.step) / (10 + run.step)))
        if not math.isfinite(value := loss.item()):
            raise FloatingPointError(f"loss is {value} at step {run.step}; lower lr (now {config.lr})")
        recent.append(value)
        run.step, run.pairs = run.step + 1, run.pairs + len(batch.labels)
        run.seconds = time.monotonic() - started
        if run.step % config.log_steps == 0:
            run.curve.append((run.step, sum(recent) / len(recent)))
            recent.clear()
            _tell(report, run, averaged, "log", peers)
        if checkpoint is not None and peers.rank == 0 and time.monotonic() - last_saved > config.checkpoint_seconds:
            _save(checkpoint, run, model, averaged, optimizer)
            _tell(report, run, averaged, "checkpoint", peers)
            last_saved = time.monotonic()
    if checkpoint is not None and peers.rank == 0:
        _save(checkpoint, run, model, averaged, optimizer)
    _tell(report, run, averaged, "end", peers)
    return run


def progress_at(step: int, seconds: float, config: ContrastiveConfig) -> float:
    """Share of the run that is done, by steps or by the deadline, whichever is larger; the run ends at 1."""
    by_time = 0.0 if config.minutes is None else seconds / (60.0 * config.minutes)
    return max(step / config.steps, by_time)


def learning_rate(step: int, progress: float, config: ContrastiveConfig) -> float:
    """Linear warm-up over steps, then a cosine over progress that ends at zero."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return config.lr * warmup * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def clip_loss(image_features: Tensor, text_features: Tensor, logit_scale: Tensor, labels: Tensor) -> Tensor:
    """Symmetric cross-entropy over (B, D) features in which equal labels share the target: a scalar.

    Args:
        logit_scale: CLIP's log value.
    """
    with torch.autocast(image_features.device.type, enabled=False):  # in bf16, logits near 100 are coarse
        image_features = F.normalize(image_features.float(), dim=-1)
        text_features = F.normalize(text_features.float(), dim=-1)
        logits = logit_scale.exp() * image_features @ text_features.T  # (B, B)
    positive = (labels[:, None] == labels[None, :]).float()
    targets = positive / positive.sum(dim=1, keepdim=True)  # symmetric classes: rows and columns share it
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def encode_short_text(model: CLIP, tokens: Tensor) -> Tensor:
    """Text features (B, D) of captions cut to their longest length; this is exact, because the text tower is causal."""
    x = short_text_rows(model, tokens)
    return x[torch.arange(len(x), device=x.device), tokens.argmax(dim=-1)] @ model.text_projection


def short_text_rows(model: CLIP, tokens: Tensor) -> Tensor:
    """Rows (B, L, D_t) after the final norm, of captions cut to their longest length L."""
    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    return model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))


def _decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(averaged.parameters()), [p.detach() for p in model.parameters()], 1.0 - decay)


def _tell(report: Report[Model] | None, run: ContrastiveRun, averaged: Model, event: Event, peers: Peers) -> None:
    if report is not None and peers.rank == 0:
        report(run, averaged, event)


def _save(path: Path, run: ContrastiveRun, model: nn.Module, averaged: nn.Module, optimizer: torch.optim.AdamW) -> None:
    state = {
        "run": {"step": run.step, "pairs": run.pairs, "seconds": run.seconds, "curve": run.curve},
        "model": model.state_dict(),
        "averaged": averaged.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _resume(path: Path, model: nn.Module, averaged: nn.Module, optimizer: torch.optim.AdamW) -> ContrastiveRun:
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    averaged.load_state_dict(state["averaged"])
    optimizer.load_state_dict(state["optimizer"])
    return ContrastiveRun(**state["run"])

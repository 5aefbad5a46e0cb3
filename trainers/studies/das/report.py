"""Costs and accuracy of finished runs of DAS, one row per wrapped method and architecture, and drawings of these."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from adaptkit import AdaptedCLIP, create_method
from adaptkit.contract.architecture import Architecture, TowerPlan, architecture_from_json
from adaptkit.towers.linears import use_onednn
from trainers.runs.adapter import backbone_of_run
from trainers.runs.records import ResultRecord, read_records
from trainers.studies.das.controls import settled_options, skipped
from trainers.studies.das.latency import Latency, measure_latencies

KEPT, SKIPPED = "█", "·"


@dataclass(frozen=True)
class ReportRow:
    """One wrapped method with one architecture, over all runs that have both."""

    label: str
    vision: tuple[int, ...]  # skipped blocks
    text: tuple[int, ...]
    selected_by: str
    agreement: float | None
    macs_per_image: int
    macs_per_image_as_loaded: int
    macs_per_class: int
    macs_per_class_as_loaded: int
    training_macs_per_step: int | None  # counted for one batch; None if the method cannot be made without images
    latency: Latency
    trainable_parameters: int
    accuracy: dict[str, float]  # percent by test, the mean over the runs
    runs: int


def report_rows(out: Path) -> list[ReportRow]:
    """Make one row per method and architecture among the finished runs below a folder.

    Raises:
        FileNotFoundError: if no run there has skipped blocks.
        ValueError: if the runs use several backbones, or one that cannot be loaded by its name.
    """
    records, _ = read_records(out)
    chosen = [record for record in records if record.architecture is not None]
    if not chosen:
        raise FileNotFoundError(f"no finished run of DAS below {str(out)!r}; `adaptkit bench --wrap das` makes some")
    backbones = {(record.backbone, record.pretrained) for record in chosen}
    if len(backbones) > 1:
        raise ValueError(f"the runs are of {len(backbones)} backbones ({sorted(backbones)}); report on one at a time")
    backbone = backbone_of_run(chosen[0], str(out))
    groups: dict[tuple[str, str], list[ResultRecord]] = {}
    for record in chosen:
        groups.setdefault((record.label, str(_architecture(record).choice)), []).append(record)
    options = {
        f"{number}": settled_options(found[0], skipped(found[0], "vision"))
        for number, found in enumerate(groups.values())
    }
    latencies = measure_latencies(backbone, options)
    rows = []
    for number, ((label, _), found) in enumerate(groups.items()):
        architecture, first = _architecture(found[0]), found[0]
        names = first.scores[0].classnames
        unfitted = replace(options[str(number)], init="zero")  # needs no image, and every count stays the same
        method = create_method(first.method, backbone, names, wrap=[("das", unfitted)])
        optim = first.identity["optim"]
        assert isinstance(optim, dict)
        batch = optim["batch_size"]
        assert isinstance(batch, int)
        rows.append(
            ReportRow(
                label=label,
                vision=architecture.vision.skipped,
                text=architecture.text.skipped,
                selected_by=architecture.selected_by,
                agreement=architecture.agreement,
                macs_per_image=architecture.macs["image"],
                macs_per_image_as_loaded=architecture.macs["image_as_loaded"],
                macs_per_class=architecture.macs["class"],
                macs_per_class_as_loaded=architecture.macs["class_as_loaded"],
                training_macs_per_step=training_macs(method, batch),
                latency=latencies[str(number)],
                trainable_parameters=first.trainable_parameters,
                accuracy={score.name: fmean(r.score(score.name).accuracy for r in found) for score in first.scores},
                runs=len(found),
            )
        )
    return rows


def _architecture(record: ResultRecord) -> Architecture:
    return architecture_from_json(json.dumps(record.architecture), f"the record of run {record.run_id[:12]}")


def training_macs(method: AdaptedCLIP, batch: int) -> int | None:
    """Count the multiply-accumulates of the forward and backward pass of one batch, texts included."""
    if "prepare" in method.provides:
        return None
    height, width = method.backbone.preprocess_cfg.image_size
    images = torch.zeros(batch, 3, height, width, device=method.device, dtype=method.backbone.dtype)
    labels = torch.zeros(batch, dtype=torch.int64, device=method.device)
    with torch.no_grad():
        x = method.consume(images)
    plain_attention = sdpa_kernel(SDPBackend.MATH)
    with use_onednn(False), plain_attention, FlopCounterMode(display=False) as counter:
        method.train().backward(x, labels)
    return counter.get_total_flops() // 2


def markdown(rows: Sequence[ReportRow]) -> str:
    """Format the rows as a Markdown table."""
    lines = [
        "| method | image blocks skipped | text blocks skipped | MACs per image | MACs per class | MACs per step "
        "| latency 1, ms | latency 128, ms | trainable | accuracy | runs |",
        "|---" * 11 + "|",
    ]
    for row in rows:
        step = "–" if row.training_macs_per_step is None else f"{row.training_macs_per_step / 1e6:,.0f} M"
        times = " | ".join(f"{ms:.2f} ({change:+.1f} %)" for ms, change in row.latency.cells)
        accuracy = ", ".join(f"{name} {value:.2f}" for name, value in row.accuracy.items())
        lines.append(
            f"| {row.label} | {_blocks(row.vision)} | {_blocks(row.text)} "
            f"| {_macs(row.macs_per_image, row.macs_per_image_as_loaded)} "
            f"| {_macs(row.macs_per_class, row.macs_per_class_as_loaded)} | {step} | {times} "
            f"| {row.trainable_parameters:,} | {accuracy} | {row.runs} |"
        )
    return "\n".join(lines)


def _blocks(blocks: Sequence[int]) -> str:
    return ", ".join(map(str, blocks)) or "none"


def _macs(ours: int, as_loaded: int) -> str:
    return f"{ours / 1e6:,.1f} M ({100 * ours / as_loaded - 100:+.1f} %)"


def drawing(architecture: Architecture) -> str:
    """Draw an architecture for terminals: blocks that run, blocks that are skipped, gates and costs."""
    lines = [f"selected by {architecture.selected_by}"]
    if architecture.agreement is not None:
        lines[0] += f", {len(architecture.seeds)} searches agree on {100 * architecture.agreement:.0f} %"
    for name, plan in (("image tower", architecture.vision), ("text tower", architecture.text)):
        lines.append(f"{name}: {_row(plan)}  skips {_blocks(plan.skipped)} of {plan.depth}")
        if plan.gates:
            lines.append("  gates " + " ".join(f"{gate:+.3f}" for gate in plan.gates))
    for what, unit in (("image", "image"), ("class", "class, whole context")):
        if what in architecture.macs:
            ours, loaded = architecture.macs[what], architecture.macs[f"{what}_as_loaded"]
            lines.append(f"MACs per {unit}: {_macs(ours, loaded)} of {loaded / 1e6:,.1f} M as loaded")
    return "\n".join(lines)


def _row(plan: TowerPlan) -> str:
    return "".join(SKIPPED if block in plan.skipped else KEPT for block in range(plan.depth))

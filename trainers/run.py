"""One run: train a method on its task, test it, keep what it learnt and a record of it."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from adaptkit import AdaptedCLIP, ClassSet, FrozenCLIP, Support, create_method, templates_for
from datasets_fewshot import FewShotDataset, Item, items_hash
from trainers.batches import Batch, FeatureBatches, ImageBatches, evaluation_batches
from trainers.encoder import ImageEncoder, ViewImages
from trainers.environment import hardware, peak_memory_mb, versions
from trainers.evaluate import EVAL_BATCH, predict, score
from trainers.few_shot import TrainLog, train
from trainers.precision import Precision
from trainers.protocols import EvalSet, Task
from trainers.records import (
    LEARNT_FILE,
    SCHEMA_VERSION,
    Json,
    ResultRecord,
    TestScore,
    replacing,
    run_folder,
    run_id,
    test_score,
    write_record,
)
from trainers.seeds import derived_seed, seeded
from trainers.settings import RunConfig
from trainers.views import ViewConfig, batch_bounds

IMAGE_EVAL_BATCH = 100  # images per test batch, as the papers' code has it


@dataclass(frozen=True)
class Bench:
    """What all runs share."""

    backbone: FrozenCLIP
    encoder: ImageEncoder
    precision: Precision
    suite: str
    out: Path
    workers: int = 0


@dataclass(frozen=True)
class Run:
    """A run with its data at hand."""

    config: RunConfig
    dataset: FewShotDataset
    task: Task
    uses_training: bool  # False: nothing is learnt or kept of training images, so shots and seeds do not matter
    identity: dict[str, Json]
    folder: Path

    @property
    def run_id(self) -> str:
        return run_id(self.identity)


def make_run(config: RunConfig, dataset: FewShotDataset, task: Task, uses_training: bool, bench: Bench) -> Run:
    """Give a run its identity: all that can change its result, and no path, host or clock."""
    identity: dict[str, Json] = {
        "protocol": config.protocol,
        "dataset": config.dataset,
        "tests": {test.name: _fingerprint(test.items, test.classnames) for test in task.tests},
        "method": config.method,
        "options": asdict(config.options),
        "templates": list(templates_for(config.dataset)),
        "backbone": bench.backbone.name,
        "weights": bench.backbone.weights_hash,
        "preprocess": asdict(bench.backbone.preprocess_cfg),
        "precision": bench.precision,
        "shots": 0,
        "seed": 0,
    }
    if uses_training:
        identity |= {
            "train": _fingerprint(task.train, task.classnames),
            "val": _fingerprint(task.val, task.classnames),
            "shots": config.shots,
            "seed": config.seed,
            "optim": asdict(config.optim),
            "views": asdict(config.views),
        }
    identity = json.loads(json.dumps(identity))  # as a record gives it back
    return Run(config, dataset, task, uses_training, identity, run_folder(bench.out, identity))


def _fingerprint(items: tuple[Item, ...], classnames: tuple[str, ...]) -> Json:
    return {"items": items_hash(items), "classnames": sha256("\n".join(classnames).encode()).hexdigest()}


def uses_training(method: AdaptedCLIP) -> bool:
    """Whether a method learns tensors or keeps anything of the training images."""
    return bool(method.learnt_parameters()) or _writes(method, "prepare") or _writes(method, "tune")


def execute(run: Run, bench: Bench, on_epoch: Callable[[int], None] | None = None) -> ResultRecord:
    """Train, test, write the learnt tensors and the record; the record comes back."""
    clock = _Clock()
    config, classes = run.config, ClassSet(run.task.classnames, templates_for(run.config.dataset))
    if bench.backbone.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.backbone.device)
    seed = derived_seed("run", config.seed, config.protocol, config.dataset, config.method, config.shots)
    with seeded(seed, bench.backbone.device):
        with clock.phase("create"):
            method = create_method(config.method, bench.backbone, classes, config.options).to(bench.backbone.device)
        log = TrainLog(0, ())
        if run.uses_training:
            with clock.phase("encode"):
                batches, support = _training_data(run, bench, method)
            with clock.phase("train"):
                log = train(method, batches, config.optim, support, bench.precision, on_epoch)
            if _writes(method, "tune") and run.task.val:
                with clock.phase("tune"):
                    method.tune(_support(run, bench, method, run.task.val, 0))
        learnt = method.learnt_state()
        scores = tuple(_test(method, run, test, bench, clock) for test in run.task.tests)
    if learnt:
        with replacing(run.folder / LEARNT_FILE) as temporary:
            save_file({name: tensor.cpu().contiguous() for name, tensor in learnt.items()}, temporary)
    record = _record(run, bench, learnt, log, scores, clock)
    write_record(record, run.folder)
    return record


def _training_data(run: Run, bench: Bench, method: AdaptedCLIP) -> tuple[FeatureBatches | ImageBatches, Support | None]:
    config, items = run.config, run.task.train
    support = _support(run, bench, method, items, method.support_views) if _writes(method, "prepare") else None
    views, size, drop_last, seed = config.views, config.optim.batch_size, config.optim.drop_last, config.seed
    if method.consumes == "features":
        device = bench.backbone.device
        epochs = config.optim.epoch_count(len(batch_bounds(len(items), size, drop_last)))
        features = bench.encoder.view_features(run.dataset, items, views, seed, epochs).to(device)
        return FeatureBatches(features, _labels(items).to(device), views, size, drop_last, seed), support
    preprocess = bench.backbone.preprocess_cfg
    return ImageBatches(run.dataset, items, preprocess, views, size, drop_last, seed, bench.workers), support


def _support(run: Run, bench: Bench, method: AdaptedCLIP, items: Sequence[Item], n_views: int) -> Support:
    """All the items at once as the method consumes them: (N, ...), or (N, V, ...) where it asks for random views."""
    views = ViewConfig("pool", n_views) if n_views else ViewConfig("none")
    if method.consumes == "features":
        x = bench.encoder.view_features(run.dataset, items, views, run.config.seed, epochs=0)  # (N, V, D)
    else:
        places = tuple((item, tuple(range(max(1, n_views)))) for item in items)
        images = ViewImages(run.dataset, places, bench.backbone.preprocess_cfg, bool(n_views), run.config.seed)
        x = torch.stack([images[index] for index in range(len(images))])  # (N, V, 3, H, W)
    device = bench.backbone.device
    return Support((x if n_views else x[:, 0]).to(device), _labels(items).to(device))


def _labels(items: Sequence[Item]) -> Tensor:
    return torch.tensor([item.label for item in items], dtype=torch.int64)


def _writes(method: AdaptedCLIP, name: Literal["prepare", "tune"]) -> bool:
    """Whether the method has its own version of an optional part of the contract."""
    return getattr(type(method), name) is not getattr(AdaptedCLIP, name)


def _test(method: AdaptedCLIP, run: Run, test: EvalSet, bench: Bench, clock: "_Clock") -> TestScore:
    with clock.phase("encode"):
        batches = _test_batches(method, run, test, bench)
    with clock.phase("test"):
        if method.classes.classnames != test.classnames:
            method.set_classes(test.classnames)
        result = score(*predict(method, batches, bench.precision))
    return test_score(test.name, result, test.classnames, items_hash(test.items))


def _test_batches(method: AdaptedCLIP, run: Run, test: EvalSet, bench: Bench) -> Iterator[Batch]:
    if method.consumes != "features":
        return evaluation_batches(
            run.dataset, test.items, bench.backbone.preprocess_cfg, IMAGE_EVAL_BATCH, bench.workers
        )
    features = bench.encoder.test_features(run.dataset, test.items)
    return zip(features.split(EVAL_BATCH), _labels(test.items).split(EVAL_BATCH), strict=True)


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def _record(
    run: Run, bench: Bench, learnt: dict[str, Tensor], log: TrainLog, scores: tuple[TestScore, ...], clock: _Clock
) -> ResultRecord:
    config = run.config
    return ResultRecord(
        schema_version=SCHEMA_VERSION,
        run_id=run.run_id,
        identity=run.identity,
        protocol=config.protocol,
        suite=bench.suite,
        dataset=config.dataset,
        method=config.method,
        shots=config.shots if run.uses_training else 0,
        seed=config.seed if run.uses_training else 0,
        deterministic=not run.uses_training,
        backbone=bench.backbone.name,
        scores=scores,
        augmentation=config.views.describe() if run.uses_training else "no training",
        epochs=len(log.losses),
        steps=log.steps,
        train_items=len(run.task.train) if run.uses_training else 0,
        trainable_parameters=sum(tensor.numel() for tensor in learnt.values()),
        final_loss=log.losses[-1] if log.losses else None,
        seconds={name: round(seconds, 4) for name, seconds in clock.seconds.items()},
        peak_memory_mb=peak_memory_mb(bench.backbone.device),
        versions=versions(),
        hardware=hardware(bench.backbone.device),
        finished=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        notes=(*run.dataset.notes, *(config.departures if run.uses_training else ())),
    )

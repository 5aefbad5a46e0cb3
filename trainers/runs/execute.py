"""One run: train a method on its task, test it, keep the learnt tensors and a record."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from adaptkit import AdaptedCLIP, Support, create_method
from adaptkit.artefacts.atomic_file import Json, replacing, write_text
from adaptkit.contract.architecture import Architecture
from adaptkit.contract.creation import trained_by
from adaptkit.contract.objective import Trained
from datasets_fewshot import items_hash
from trainers.compute.clock import Clock
from trainers.compute.seeds import derived_seed, seeded
from trainers.compute.team import ALONE
from trainers.config.settings import RunConfig, Wrap
from trainers.evaluation.logits import predict
from trainers.evaluation.scoring import score
from trainers.protocols.registry import get_protocol
from trainers.protocols.task import EvalSet
from trainers.runs.adapter import texts_state
from trainers.runs.class_texts import read_classes
from trainers.runs.data import Bench
from trainers.runs.environment import hardware, peak_memory_mb, versions
from trainers.runs.identity import Run, notes_of
from trainers.runs.records import (
    ARCHITECTURE_FILE,
    LAST_GOOD_FILE,
    LEARNT_FILE,
    SCHEMA_VERSION,
    ResultRecord,
    TestScore,
    test_score,
    write_record,
)
from trainers.runs.search import find_architecture
from trainers.training.checkpoints import Checkpoints, discard_checkpoints
from trainers.training.few_shot import Batches, DivergedError, TrainLog, train


def execute(run: Run, bench: Bench, on_epoch: Callable[[int], None] | None = None) -> ResultRecord:
    """Train, test, write the learnt tensors and the record, and return the record."""
    clock = Clock()
    if bench.backbone.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.backbone.device)
    with seeded(run_seed(run.config), bench.backbone.device):
        method, log, architecture = _learn(run, bench, clock, on_epoch)
        if run.uses_training:
            with clock.phase("tune"):
                _tune(method, run, bench)
        run_classes = method.classes  # before tests give it others
        learnt, trainable = method.learnt_state(), sum(p.numel() for p in method.learnt_parameters().values())
        scores = tuple(_test(method, test, bench, clock, run) for test in run.task.tests)
    learnt |= texts_state(run_classes)
    if learnt:
        _save(learnt, run.folder / LEARNT_FILE)
    (run.folder / LAST_GOOD_FILE).unlink(missing_ok=True)
    if architecture is not None:
        write_text(run.folder / ARCHITECTURE_FILE, architecture.to_json())
    record = _record(run, bench, trainable, log, scores, clock, architecture, test_time_facts(method, run, clock))
    write_record(record, run.folder)
    discard_checkpoints(run.folder)
    return record


def assist(run: Run, bench: Bench) -> None:
    """Take part in training a run together with the process that executes it."""
    if run.processes > 1:
        with seeded(run_seed(run.config), bench.backbone.device):
            _learn(run, bench, Clock(), None)


def run_seed(config: RunConfig) -> int:
    """The seed of all that a run draws."""
    return derived_seed("run", config.seed, config.protocol, config.dataset, config.method, config.shots)


def _learn(
    run: Run, bench: Bench, clock: Clock, on_epoch: Callable[[int], None] | None
) -> tuple[AdaptedCLIP, TrainLog, Architecture | None]:
    """The run's method, trained if it learns, and the architecture of its skipped blocks."""
    config, make = run.config, partial(make_method, run, bench)
    with clock.phase("create"):
        method = make(config.wrap)
    architecture = None
    if method.search() is not None:
        with clock.phase("search"):
            architecture, wrap = find_architecture(make, config, run.dataset, run.task, bench)
        method = make(wrap)
    architecture = architecture or method.architecture()
    if not run.uses_training:
        return method, TrainLog(0, ()), architecture
    dataset, items, support = run.dataset, run.task.train, None
    with clock.phase("encode"):
        batches = bench.feed(method).training(dataset, items, config)
        if "prepare" in method.provides:
            support = bench.feed(method).support(method, dataset, items, config)
    trainee = trained_by(method, config.objective)
    if isinstance(trainee, Trained) and trainee.objective.wants_examples:
        with clock.phase("encode"):
            batches.with_places = True
            new_names = run.task.new_names if trainee.objective.wants_new_names else ()
            trainee.see_examples(replace(bench.examples(dataset, items), new_names=new_names))
    with clock.phase("train"):
        log = _train(trainee, batches, support, run, bench, on_epoch)
    clock.add("train", log.earlier_seconds)
    return method, log, architecture


def make_method(run: Run, bench: Bench, wrap: Wrap) -> AdaptedCLIP:
    """The run's method with the given wrappers, before any training."""
    config, classes = run.config, read_classes(run.config, run.task.classnames, bench.backbone.tokenizer)
    return create_method(config.method, bench.backbone, classes, config.options, wrap=wrap).to(bench.backbone.device)


def _train(
    method: AdaptedCLIP,
    batches: Batches,
    support: Support | None,
    run: Run,
    bench: Bench,
    on_epoch: Callable[[int], None] | None,
) -> TrainLog:
    """Train; if a loss is not finite, keep the last good tensors and say where they are."""
    checkpoints = Checkpoints(run.folder, run.run_id, bench.checkpoint)
    team = bench.team if run.processes > 1 else ALONE
    try:
        start = bench.start_of(run.config)
        tensors = None if start is None else start.tensors
        return train(method, batches, run.config.optim, support, bench.precision, on_epoch, checkpoints, team, tensors)
    except DivergedError as error:
        if not team.leads:
            raise
        discard_checkpoints(run.folder)  # A restart from them could only diverge again.
        path = run.folder / LAST_GOOD_FILE
        _save(error.last_good.state, path)
        config = run.config
        raise DivergedError(
            f"{config.label} on {config.dataset}, seed {config.seed}: {error}; the last good checkpoint, after "
            f"{error.last_good.epochs} epochs, is {path}",
            error.last_good,
        ) from error


def _tune(method: AdaptedCLIP, run: Run, bench: Bench) -> None:
    """Let a method choose its hyper-parameters, on validation images or, as an oracle, on the test images."""
    if "tune" not in method.provides:
        return
    if run.config.selection == "oracle":
        (test,) = run.task.tests
        method.tune(bench.feed(method).all_at_once(test.dataset, test.items, run.config))
    elif run.task.val:
        method.tune(bench.feed(method).all_at_once(run.dataset, run.task.val, run.config))


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}))


def _test(method: AdaptedCLIP, test: EvalSet, bench: Bench, clock: Clock, run: Run) -> TestScore:
    order = stream_order(len(test.items), run.config.seed) if method.sees == "online" else None
    shown = test if order is None else replace(test, items=tuple(test.items[place] for place in order.tolist()))
    with clock.phase("encode"):
        batches = bench.feed(method).test(shown)
    with clock.phase("test"):
        keeps_classes = set_classes(method, test, run.config)
        logits, labels = predict(method, batches, bench.precision)
        if order is not None:
            places = order.argsort().numpy()
            logits, labels = logits[places], labels[places]
        result = score(logits[:, list(test.learnt_labels)] if keeps_classes else logits, labels)
    return test_score(test.name, result, test.classnames, items_hash(test.items))


def stream_order(count: int, seed: int) -> Tensor:
    """The order in which test images come as a stream, as a permutation (N,)."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(derived_seed("stream", seed, count)))


def test_time_facts(method: AdaptedCLIP, run: Run, clock: Clock) -> dict[str, Json] | None:
    """What a method saw of the unlabelled test images, and how long one of them took; None where it sees none."""
    if method.sees is None:
        return None
    views, images = method.test_views, sum(len(test.items) for test in run.task.tests)
    return {
        "sees": method.sees,
        "order_seed": run.config.seed if method.sees == "online" else None,
        "views": 1 if views is None else views.count,
        "views_in_words": "test image" if views is None else views.describe(),
        "seconds_per_image": round(clock.seconds.get("test", 0.0) / max(1, images), 6),
    }


def set_classes(method: AdaptedCLIP, test: EvalSet, config: RunConfig | None = None) -> bool:
    """Give the method the test's classes, read as in the run; return True if it keeps its own, which contain them."""
    if method.classes.classnames == test.classnames:
        return False
    if method.bound_to_classes is not None and test.learnt_labels:
        return True
    if config is None or config.texts is None:
        method.set_classes(test.classnames)
    else:
        method.set_classes(read_classes(config, test.classnames, method.backbone.tokenizer))
    return False


def _record(
    run: Run,
    bench: Bench,
    trainable: int,
    log: TrainLog,
    scores: tuple[TestScore, ...],
    clock: Clock,
    architecture: Architecture | None,
    test_time: dict[str, Json] | None,
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
        seed=config.seed if run.uses_seed else 0,
        deterministic=not run.uses_seed,
        backbone=bench.backbone.name,
        pretrained=bench.pretrained,
        scores=scores,
        augmentation=config.views.describe() if run.uses_training else "no training",
        epochs=len(log.losses),
        steps=log.steps,
        train_items=len(run.task.train) if run.uses_training else 0,
        trainable_parameters=trainable,
        final_loss=log.losses[-1] if log.losses else None,
        seconds={name: round(seconds, 4) for name, seconds in clock.seconds.items()},
        peak_memory_mb=peak_memory_mb(bench.backbone.device),
        versions=versions(),
        hardware=hardware(bench.backbone.device) | ({"processes": str(run.processes)} if run.processes > 1 else {}),
        finished=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        notes=notes_of(run, bench.start_of(config)),
        architecture=None if architecture is None else json.loads(architecture.to_json()),
        metric=get_protocol(config.protocol).metric,
        test_time=test_time,
    )

"""One run: train a method on its task, test it, keep the learnt tensors and a record."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial

import torch
from torch import Tensor

from adaptkit import AdaptedCLIP
from adaptkit.artefacts.atomic_file import Json, write_text
from datasets_fewshot import items_hash
from trainers.compute.clock import Clock
from trainers.compute.seeds import derived_seed
from trainers.config.settings import RunConfig
from trainers.evaluation.logits import predict
from trainers.evaluation.scoring import score
from trainers.protocols.registry import get_protocol
from trainers.protocols.task import EvalSet
from trainers.runs.adapter import texts_state
from trainers.runs.class_texts import read_classes
from trainers.runs.data import Bench
from trainers.runs.environment import hardware, peak_memory_mb, reset_peak_memory, versions
from trainers.runs.identity import Run, notes_of
from trainers.runs.learning import Begun, begin, learn, learn_side_by_side, save_tensors
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
from trainers.training.checkpoints import discard_checkpoints
from trainers.training.few_shot import DivergedError, TrainLog


def execute(run: Run, bench: Bench, on_epoch: Callable[[int], None] | None = None) -> ResultRecord:
    """Train, test, write the learnt tensors and the record, and return the record."""
    reset_peak_memory(bench.backbone.device)
    begun = begin(run, bench)
    return finish(begun, learn(begun, bench, on_epoch), bench)


def learn_group(
    runs: Sequence[Run], bench: Bench, on_epoch: Callable[[int], None] | None = None
) -> list[Callable[[], ResultRecord]]:
    """Train runs of one kind, see `trainers.runs.replicas`, side by side, as `execute` trains each of them.

    Returns:
        For each run the rest of `execute`: what tests it, writes its files and returns the record. It raises the error
        of a training that diverged.
    """
    reset_peak_memory(bench.backbone.device)
    begun = [begin(run, bench) for run in runs]
    logs = learn_side_by_side(begun, bench, on_epoch)
    return [partial(_finish_or_raise, *one, bench, len(runs)) for one in zip(begun, logs, strict=True)]


def _finish_or_raise(begun: Begun, log: TrainLog | DivergedError, bench: Bench, side_by_side: int) -> ResultRecord:
    if isinstance(log, DivergedError):
        raise log
    return finish(begun, log, bench, side_by_side)


def assist(run: Run, bench: Bench) -> None:
    """Take part in training a run together with the process that executes it."""
    if run.processes > 1:
        learn(begin(run, bench), bench)


def finish(begun: Begun, log: TrainLog, bench: Bench, side_by_side: int = 1) -> ResultRecord:
    """Test what a run has learnt, write the learnt tensors and the record, and return the record.

    Args:
        side_by_side: number of runs that learnt in one loop.
    """
    run, method, clock = begun.run, begun.method, begun.clock
    with begun.numbers.in_use():
        if run.uses_training:
            with clock.phase("tune"):
                _tune(method, run, bench)
        run_classes = method.classes  # before tests give it others
        learnt, trainable = method.learnt_state(), sum(p.numel() for p in method.learnt_parameters().values())
        scores = tuple(_test(method, test, bench, clock, run) for test in run.task.tests)
    learnt |= texts_state(run_classes)
    if learnt:
        save_tensors(learnt, run.folder / LEARNT_FILE)
    (run.folder / LAST_GOOD_FILE).unlink(missing_ok=True)
    if begun.architecture is not None:
        write_text(run.folder / ARCHITECTURE_FILE, begun.architecture.to_json())
    record = _record(begun, log, bench, trainable, scores, side_by_side)
    write_record(record, run.folder)
    discard_checkpoints(run.folder)
    return record


def _tune(method: AdaptedCLIP, run: Run, bench: Bench) -> None:
    """Let a method choose its hyper-parameters, on validation images or, as an oracle, on the test images."""
    if "tune" not in method.provides:
        return
    if run.config.selection == "oracle":
        (test,) = run.task.tests
        method.tune(bench.feed(method).all_at_once(test.dataset, test.items, run.config))
    elif run.task.val:
        method.tune(bench.feed(method).all_at_once(run.dataset, run.task.val, run.config))


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
    begun: Begun, log: TrainLog, bench: Bench, trainable: int, scores: tuple[TestScore, ...], side_by_side: int
) -> ResultRecord:
    run, config, architecture = begun.run, begun.run.config, begun.architecture
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
        seconds={name: round(seconds, 4) for name, seconds in begun.clock.seconds.items()},
        peak_memory_mb=peak_memory_mb(bench.backbone.device),
        versions=versions(),
        hardware=hardware(bench.backbone.device) | ({"processes": str(run.processes)} if run.processes > 1 else {}),
        finished=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        notes=notes_of(run, bench.start_of(config)),
        architecture=None if architecture is None else json.loads(architecture.to_json()),
        metric=get_protocol(config.protocol).metric,
        test_time=test_time_facts(begun.method, run, begun.clock),
        side_by_side=side_by_side,
    )

"""Records of runs that never ran, with chosen accuracies."""

import numpy as np

from trainers.evaluation.scoring import ConfidenceBin, Score, wilson_interval
from trainers.runs.records import SCHEMA_VERSION, Json, ResultRecord, TestScore, run_id, test_score


def make_record(
    dataset: str = "a",
    method: str = "coop",
    seed: int = 1,
    shots: int = 16,
    base: float = 50.0,
    new: float = 50.0,
    total: int = 20,
    protocol: str = "base_to_novel",
    backbone: str = "tiny",
    pretrained: str = "own",
    epochs: int = 50,
    notes: tuple[str, ...] = (),
    suite: str = "mini",
    recipe: str = "",
    tests: dict[str, float] | None = None,
) -> ResultRecord:
    """Make a record with the accuracies (in percent); its first images are right, the others wrong."""
    deterministic = method == "zero_shot"
    identity: dict[str, Json] = {
        "protocol": protocol, "dataset": dataset, "method": method, "shots": shots, "seed": seed,
        "backbone": backbone, "weights": backbone, "precision": "fp32", "optim": {"epochs": epochs},
    }  # fmt: skip
    if recipe:
        identity["recipe"] = recipe
    usual = {"base": base, "new": new} if protocol == "base_to_novel" else {"all": base}
    accuracies = tests or usual
    return ResultRecord(
        schema_version=SCHEMA_VERSION,
        run_id=run_id(identity),
        identity=identity,
        protocol=protocol,
        suite=suite,
        dataset=dataset,
        method=method,
        shots=shots,
        seed=seed,
        deterministic=deterministic,
        backbone=backbone,
        pretrained=pretrained,
        scores=tuple(make_score(name, accuracy, total) for name, accuracy in accuracies.items()),
        augmentation="none",
        epochs=epochs,
        steps=epochs,
        train_items=32,
        trainable_parameters=0 if deterministic else 64,
        final_loss=None if deterministic else 0.5,
        seconds={"train": 0.75, "test": 0.25},
        peak_memory_mb=None,
        versions={"torch": "2"},
        hardware={"device": "CPU"},
        finished="2026-01-01T00:00:00+00:00",
        notes=notes,
    )


def make_score(name: str, accuracy: float, total: int) -> TestScore:
    correct = round(accuracy * total / 100)
    hits = np.arange(total) < correct
    interval = wilson_interval(correct, total)
    bins = (*[ConfidenceBin(0, 0, 0.0)] * 14, ConfidenceBin(total, correct, 97.5))
    score = Score(100 * correct / total, correct, total, interval, 1.0, 0.5, (accuracy, float("nan")), bins, hits)
    return test_score(name, score, ("cat", "dog"), "hash")

"""What a person's texts of the classes give zero-shot, before any training: reported, and never a reason to choose."""

from collections.abc import Sequence

from adaptkit import TextGain
from trainers.evaluation.logits import predict
from trainers.evaluation.scoring import score
from trainers.protocols.task import EvalSet
from trainers.runs.data import Bench
from trainers.runs.identity import Run
from trainers.runs.learning import make_method
from trainers.runs.records import ResultRecord


def text_gains(runs: Sequence[Run], records: Sequence[ResultRecord], bench: Bench) -> tuple[TextGain, ...]:
    """Zero-shot by names and by texts, on test images and on the drawn training images, of which it learns nothing.

    Args:
        runs: zero-shot by names, then by texts, with their records.
    """
    before, after = (record.scores[0] for record in records)
    train = [_on_training_images(run, bench) for run in runs]
    return (
        TextGain("test", after.total, before.accuracy, after.accuracy),
        TextGain("train", len(runs[0].task.train), *train),
    )


def _on_training_images(run: Run, bench: Bench) -> float:
    """Accuracy in percent."""
    method, task = make_method(run, bench, run.config.wrap), run.task
    images = EvalSet("train", run.dataset, task.train, task.classnames)
    return score(*predict(method, bench.feed(method).test(images), bench.precision)).accuracy

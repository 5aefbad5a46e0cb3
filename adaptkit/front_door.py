"""`adaptkit.fit`: from a folder of images to a saved, tested adapter, in one call.

Training lives above this package, and nothing here imports upwards. A distribution that can train says so in its
metadata, under the entry point group of this name; `fit` looks it up when it is called.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

from adaptkit.contract.method import AdaptedCLIP
from adaptkit.own_packages import find_own_packages

ENTRY_POINTS = "adaptkit.fit"


@dataclass(frozen=True)
class Confusion:
    """Number of test images of one class that were taken for another."""

    true: str
    taken_for: str
    images: int


@dataclass(frozen=True)
class TextGain:
    """Zero-shot accuracy without and with what a person says of the classes, in percent of some images."""

    part: str  # "test", or "train": the drawn training images, from which zero-shot learns nothing
    images: int
    before: float
    after: float


@dataclass(frozen=True)
class FitResult:
    """A trained method, the place where it is saved, and its accuracy on images that it has not seen."""

    method: AdaptedCLIP
    folder: Path  # Folder of the adapter, its summary, record and worst images.
    shots: int  # Training images per class.
    test_images: int
    accuracy: float  # Accuracy in percent.
    interval: tuple[float, float]  # 95 % interval of the accuracy, in percent.
    zero_shot_accuracy: float  # Accuracy of the same backbone without training and by class names alone, in percent.
    confusions: tuple[Confusion, ...]  # The most frequent first.
    worst_images: tuple[Path, ...]  # Misclassified test images, the most confident first.
    notes: tuple[str, ...]
    metrics: Mapping[str, object] = field(default_factory=dict)  # All numbers of the test, as in summary.json.
    certainty: tuple[str, ...] = ()  # What its calibration is worth on the test images, in lines.
    text_gains: tuple[TextGain, ...] = ()  # What the file of `describe` gave before any training, on each part.

    def summary(self) -> str:
        """The result in a few lines for people."""
        difference = self.accuracy - self.zero_shot_accuracy
        low, high = self.interval
        lines = [
            f"accuracy {self.accuracy:.1f} % (95 %: {low:.1f} to {high:.1f}) of {self.test_images} test images, "
            f"{difference:+.1f} against zero-shot ({self.zero_shot_accuracy:.1f} %)",
            *self._beside_accuracy(),
            *self._by_texts(),
            *self.certainty,
        ]
        if self.confusions:
            lines.append("most often confused:")
            lines += [f"  {c.true} taken for {c.taken_for}: {c.images}" for c in self.confusions]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)

    def _by_texts(self) -> list[str]:
        if not self.text_gains:
            return []
        named = {"train": "training"}
        parts = (
            f"{one.before:.1f} % to {one.after:.1f} % of {one.images} {named.get(one.part, one.part)} images"
            for one in self.text_gains
        )
        return [f"your texts bring zero-shot from {' and from '.join(parts)}"]

    def _beside_accuracy(self) -> list[str]:
        """What accuracy hides where classes differ in size: the baseline of the most frequent one, and means."""
        majority, macro = self.metrics.get("majority"), self.metrics.get("macro")
        if not isinstance(majority, Mapping) or not isinstance(macro, Mapping):
            return []
        return [
            f"always answering {majority['name']!r}, the most frequent class, is right for "
            f"{majority['accuracy']:.1f} %",
            f"balanced accuracy {self.metrics['balanced_accuracy']:.1f} %, macro F1 {macro['f1']:.1f} %",
        ]


@dataclass(frozen=True, kw_only=True)
class MultiLabelFitResult(FitResult):
    """A method that has learnt several labels per image, and its results on images that it has not seen, in percent.

    Its accuracy is the share of images that are answered with exactly the right labels.
    """

    mean_average_precision: float
    zero_shot_mean_average_precision: float
    micro_f1: float
    macro_f1: float

    def summary(self) -> str:
        """The result in a few lines for people."""
        better = self.mean_average_precision - self.zero_shot_mean_average_precision
        low, high = self.interval
        lines = [
            f"mean average precision {self.mean_average_precision:.1f} % of {self.test_images} test images, "
            f"{better:+.1f} against zero-shot ({self.zero_shot_mean_average_precision:.1f} %)",
            f"F1 {self.micro_f1:.1f} % (micro) and {self.macro_f1:.1f} % (macro) at the labels' thresholds; all labels "
            f"right for {self.accuracy:.1f} % of the images (95 %: {low:.1f} to {high:.1f})",
            *(f"note: {note}" for note in self.notes),
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class FitArguments:
    """What `fit` was asked for, as a trainer is given it; `fit` says what each means."""

    method: str
    data: str | Path
    out: str | Path | None
    shots: int | None
    seed: int
    backbone: str
    pretrained: str | None
    checkpoint: str | Path | None
    image_size: int | None
    classnames: str | Path | None
    templates: Sequence[str]
    split: str | Path | None
    skip_bad: bool
    path_column: str | None
    label_column: str | None
    encoding: str | None
    redraw: bool
    val_as_test: bool
    device: str
    start_from: str | Path | None
    describe: str | Path | None
    wrap: Sequence[str]
    calibrate: bool
    most_false_rejections: float | None
    budget: str | None
    metric: str | None
    candidates: Sequence[str]
    overrides: Sequence[str]
    on_message: Callable[[str], None] | None

    def tell(self, message: str) -> None:
        """Pass a line of progress on, if anyone listens."""
        if self.on_message is not None:
            self.on_message(message)


Fit = Callable[[FitArguments], FitResult]  # what a trainer offers under the entry point


def fit(
    method: str,
    data: str | Path,
    out: str | Path | None = None,
    *,
    shots: int | None = None,
    seed: int = 1,
    backbone: str = "adaptkit-mini",
    pretrained: str | None = None,
    checkpoint: str | Path | None = None,
    image_size: int | None = None,
    classnames: str | Path | None = None,
    templates: Sequence[str] = (),
    split: str | Path | None = None,
    skip_bad: bool = False,
    path_column: str | None = None,
    label_column: str | None = None,
    encoding: str | None = None,
    redraw: bool = False,
    val_as_test: bool = False,
    device: str = "auto",
    start_from: str | Path | None = None,
    describe: str | Path | None = None,
    wrap: Sequence[str] = (),
    calibrate: bool = False,
    most_false_rejections: float | None = None,
    budget: str | None = None,
    metric: str | None = None,
    candidates: Sequence[str] = (),
    overrides: Sequence[str] = (),
    on_message: Callable[[str], None] | None = None,
) -> FitResult:
    """Train a method on your own images, test it against zero-shot, and save it as an adapter.

    A table with several labels per image gives a `MultiLabelFitResult`, and a method wrapped in `multi_label`.

    Args:
        method: a name from `list_methods`, or "auto" to have one chosen: candidates are compared on folds of the
            training images, and the best is trained on all of them, or zero-shot is kept if none is better by more than
            its standard error. Then the train and val parts are learnt from, with all their images unless `shots` says
            how many, and the result has a `leaderboard` and the `fold_logits` of what was chosen.
        data: a folder of class folders, a table, shards, or a Hugging Face folder.
        out: the adapter's folder; None means "<data>-<method>" in the current folder.
        shots: training images per class; None takes as many as the data and the recipes have, 16 at most.
        seed: seed of the training and of the draw of images.
        backbone: an open_clip name, with `pretrained` (a tag) or `checkpoint` (a file). The default needs no network
            and is small: for photographs use a larger one.
        image_size: side of the images in pixels, if not the backbone's own.
        classnames: a file with names for the classes.
        templates: sentences with one {} for the name; none means "a photo of a {}.".
        split: a split file that divides the images.
        skip_bad: leave out unreadable images.
        path_column: the column of image paths in a table; None looks for a usual name.
        label_column: the column of classes in a table; None looks for a usual name.
        encoding: of a table, such as "cp1252"; None recognises UTF-8 and UTF-16.
        redraw: draw the split again, in the place of the one that was kept.
        val_as_test: test on the val part of data that have no test part.
        device: "auto", "cpu", "cuda" or "cuda:1".
        start_from: a saved adapter of the same method, options and backbone, whose learnt tensors training starts
            from; where they belong to classes, of the same classes. It has to be another folder than `out`.
        describe: a file of what you know of the classes, as YAML, JSON or a table: what prompts call them,
            descriptors, sentences (`adaptkit.texts.class_texts`). `text_gains` says what it gives zero-shot.
        wrap: names of wrappers around the method, the outermost first; zero-shot beside it has none.
        calibrate: fit a temperature, prediction sets and a threshold for unknown classes on folds of the training
            images, which takes five more trainings, or those that "auto" has made; see `adaptkit.calibration`.
        most_false_rejections: choose that threshold as the largest that rejects no more than this share of images of
            known classes, from 0 to 1; None for Youden's J.
        budget: of "auto": a time such as "10min", which is the default, or steps such as "2000steps"; with steps,
            nothing depends on the clock.
        metric: of "auto": "balanced_accuracy", which is the default, or "accuracy".
        candidates: of "auto": names of the methods to compare, plugins among them; none takes the usual ones.
        overrides: settings as KEY, VALUE, KEY, VALUE, such as ("OPTIM.EPOCHS", "10"); they win over all defaults.
        on_message: a function that is called with lines of progress.

    Raises:
        ValueError: if the data, a name or a setting is wrong; before any training.
        FileNotFoundError: if `data` does not exist.
        ImportError: if no trainer is installed, or a package of the user's is imported under its name.

    Example:
        ```python
        result = adaptkit.fit("taskres", "photos", "my_adapter", overrides=("OPTIM.STEPS", "20"))
        print(result.summary())
        ```
    """
    asked = FitArguments(
        method,
        data,
        out,
        shots=shots,
        seed=seed,
        backbone=backbone,
        pretrained=pretrained,
        checkpoint=checkpoint,
        image_size=image_size,
        classnames=classnames,
        templates=templates,
        split=split,
        skip_bad=skip_bad,
        path_column=path_column,
        label_column=label_column,
        encoding=encoding,
        redraw=redraw,
        val_as_test=val_as_test,
        device=device,
        start_from=start_from,
        describe=describe,
        wrap=wrap,
        calibrate=calibrate,
        most_false_rejections=most_false_rejections,
        budget=budget,
        metric=metric,
        candidates=candidates,
        overrides=overrides,
        on_message=on_message,
    )
    return _trainer()(asked)


def _trainer() -> Fit:
    found = list(entry_points(group=ENTRY_POINTS))
    if not found:
        raise ImportError(
            f"no installed distribution offers a trainer (entry point {ENTRY_POINTS!r}); install adaptkit-clip anew: "
            "pip install . from its folder"
        )
    find_own_packages()
    trainer: Fit = found[0].load()
    return trainer

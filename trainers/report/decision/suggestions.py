"""What `adaptkit suggest` has found, as rows of four lists: the content of suggestions.json."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["exact", "near"]
SUGGESTIONS_FILE = "suggestions.json"
LISTS = ("label_errors", "duplicates", "look_alikes", "label_next")


@dataclass(frozen=True)
class LabelError:
    """A training image whose held-out answer contradicts its label."""

    path: str
    label: str
    suggested: str
    label_probability: float
    suggested_probability: float
    confident: bool  # by the thresholds of confident learning


@dataclass(frozen=True)
class Duplicate:
    """Two labelled images that are one picture, in different parts or in different classes."""

    path: str
    part: str
    label: str
    other_path: str
    other_part: str
    other_label: str
    kind: Kind
    similarity: float  # correlation of the thumbnails


@dataclass(frozen=True)
class LookAlike:
    """Two classes that look alike, and the images that show it."""

    label: str
    other_label: str
    confused: int  # held-out images of one that were taken for the other
    images: int  # held-out images of both
    similarity: float  # cosine of their class weights
    shown: tuple[str, ...]  # paths


@dataclass(frozen=True)
class NextImage:
    """An unlabelled image that is worth a label."""

    path: str
    answer: str
    probability: float
    second: str
    second_probability: float


@dataclass(frozen=True)
class Suggestions:
    """Four lists of images to look at; one that could not be made is None, and `left_out` says why."""

    dataset: str
    method: str
    images: int  # training images
    folds: int  # trainings for held-out answers; 0 where nothing is learnt, or there are no folds
    held_out_images: int
    held_out_accuracy: float | None  # percent of them
    label_errors: tuple[LabelError, ...] | None
    duplicates: tuple[Duplicate, ...]
    look_alikes: tuple[LookAlike, ...]
    label_next: tuple[NextImage, ...] | None
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    def summary(self) -> str:
        """The result in a few lines for people."""
        lines = [f"{self.dataset}: {self.images} training images, as {self.method} sees them"]
        if self.held_out_accuracy is not None:
            how = f"{self.folds} folds" if self.folds else "nothing is learnt, so all of them"
            lines.append(
                f"held-out answers: {self.held_out_accuracy:.1f} % of {self.held_out_images} images agree with their "
                f"labels ({how})"
            )
        if self.label_errors is not None:
            sure = sum(one.confident for one in self.label_errors)
            lines.append(f"label errors: {len(self.label_errors)} labels are contradicted, {sure} with confidence")
            lines += [
                f"  {one.path}: {one.label}, or {one.suggested}? ({one.suggested_probability:.0%})"
                for one in self.label_errors[:3]
            ]
        lines.append(f"duplicates: {len(self.duplicates)} pairs across parts or classes")
        lines += [f"  {one.path} ({one.part}) and {one.other_path} ({one.other_part})" for one in self.duplicates[:3]]
        lines.append(f"classes that look alike: {len(self.look_alikes)} pairs")
        lines += [f"  {_confusion(one)}" for one in self.look_alikes[:3]]
        if self.label_next is not None:
            lines.append(f"worth labelling next: {len(self.label_next)} images")
            lines += [f"  {one.path}: {one.answer}, or {one.second}?" for one in self.label_next[:3]]
        lines += [f"left out: {reason}" for reason in self.left_out]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _confusion(one: LookAlike) -> str:
    seen = f"{one.confused} of {one.images} confused, " if one.images else ""
    return f"{one.label} and {one.other_label}: {seen}cosine {one.similarity:.2f}"

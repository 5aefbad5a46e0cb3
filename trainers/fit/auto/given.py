"""The training images of a search: the train and val parts of own data together, as a split file of the search's own.

Folds take the place of a val part, so its images are learnt from as well. The refit reads the same file.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adaptkit.front_door import FitArguments
from datasets_fewshot import FewShotDataset, Split
from datasets_fewshot.own.usable import check_usable
from datasets_fewshot.splits.split_files import draw_few_shot, write_split
from trainers.fit.own_data import own_data

SPLIT_FILE = "split.json"


@dataclass(frozen=True)
class Given:
    """Own data as a search sees them."""

    dataset: FewShotDataset  # train: all that may be learnt from; val: empty
    split: Path  # the file that says so
    notes: tuple[str, ...]  # of loading them

    @property
    def shots(self) -> int:
        """Training images of the class that has the most."""
        return max(Counter(item.label for item in self.dataset.split.train).values())


def load_given(asked: FitArguments, folder: Path) -> Given:
    """Load own data and write the split of the search.

    Args:
        folder: for the split file.

    Raises:
        ValueError: if the data cannot be learnt from and tested on, or a class has no training image.
    """
    loaded = own_data(asked)
    parts = Split((*loaded.split.train, *loaded.split.val), (), loaded.split.test)
    if asked.shots is not None:
        parts = draw_few_shot(parts, asked.shots, asked.seed)
    usable = replace(loaded, split=parts)
    notes = check_usable(usable)
    _check_classes(usable)
    file = folder / SPLIT_FILE
    write_split(parts, file)
    dataset = own_data(replace(asked, split=file, redraw=False, val_as_test=False))
    _check_same(dataset, parts)
    return Given(dataset, file, (*loaded.notes, *notes))


def _check_same(dataset: FewShotDataset, parts: Split) -> None:
    """Check that names which are read again are not renamed again.

    Raises:
        ValueError: if they are: two classes have each other's names.
    """
    for read, meant in zip(dataset.split.train, parts.train, strict=True):
        if read != meant:
            raise ValueError(
                f"the class {meant.classname!r} is called {read.classname!r} when its name is read again; give class "
                "names that are no folder's names of other classes, in classnames.txt or with --classnames"
            )


def _check_classes(dataset: FewShotDataset) -> None:
    learnt = {item.label for item in dataset.split.train}
    missing: Sequence[str] = [name for label, name in enumerate(dataset.classnames) if label not in learnt]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(dataset.classnames)} classes have no training image, such as {missing[0]!r}, and "
            "every fold would be without them; add an image to each, remove the class, or train one method by name"
        )

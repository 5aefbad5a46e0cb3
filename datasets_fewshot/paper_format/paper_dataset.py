"""A data set of the papers: where its files may lie, which split it uses, and how to load it."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets_fewshot.dataset import FewShotDataset, Split
from datasets_fewshot.paper_format.facts import draw_differences, facts
from datasets_fewshot.paper_format.fallback import FALLBACK_SEED
from datasets_fewshot.paper_format.layouts import Layout, Place, describe_layouts, find_places
from datasets_fewshot.splits.split_files import read_split, write_split
from datasets_fewshot.splits.validation import check_files, check_split
from datasets_fewshot.store.cache_folder import cache_folder

FALLBACK_NOTE = "fallback split: built by the papers' rule, but not the papers' images"
CHECKED_DRAW = "train 16 1"  # the draw that loading checks; the doctor checks all of them
DRIVE = "https://drive.google.com/file/d/"


class DatasetNotFoundError(FileNotFoundError):
    """The files of a data set are in none of the known places; the message lists them."""


@dataclass(frozen=True)
class PaperDataset:
    """Description of one data set, as used by the loader, the doctor and the downloader."""

    name: str
    title: str  # the name that the papers print
    layouts: tuple[Layout, ...]  # the first one found on disk is used; CoOp's is listed first
    source: str  # link to the images
    split_file: str = ""  # the papers' split; "" if they use the data set's own lists
    split_link: str = ""  # link to the split file
    fallback: Callable[[Place, random.Random], Split] | None = None  # builds a split when the file is missing
    official: Callable[[Place], Split] | None = None  # reads the data set's own lists, if there is no split file
    notes: tuple[str, ...] = ()  # remarks that every record must carry
    is_listed: bool = False  # `official` lists the image folders themselves, so that no file can be missing

    def load(self, root: Path | None, split: str = "paper") -> FewShotDataset:
        """Load the data set from the folder that holds all data sets.

        Args:
            split: "paper" for the papers' split; "fallback" builds one by the papers' rule if the file is missing,
                writes it beside the images and marks the data set.

        Raises:
            DatasetNotFoundError: if the images or the papers' split file are not found.
            SplitError: if the split breaks a rule or lists images that are not there.
        """
        if split not in ("paper", "fallback"):
            raise ValueError(f"split is {split!r}; use 'paper' or 'fallback'")
        place = self.find(root)
        if self.official is not None:
            lists = self.official(place)
            if not self.is_listed:
                check_split(lists, str(place.folder))
                check_files(lists, place.image_root, str(place.folder))
            notes = self._differences(lists)
        else:
            try:
                lists = self._read(self.find_split(place), place)
                notes = self._differences(lists)
            except DatasetNotFoundError:
                if split != "fallback":
                    raise
                lists, notes = self._read(self._fallback_file(place), place), (FALLBACK_NOTE,)
        return FewShotDataset(self.name, place.image_root, lists, (*self.notes, *notes))

    def find(self, root: Path | None) -> Place:
        """Find the first layout that is present below the root.

        Raises:
            DatasetNotFoundError: lists the folders searched.
        """
        if root is None:
            raise DatasetNotFoundError(f"{self.title} needs a root: the folder that holds {self.layouts[0].folder}/")
        places = find_places(root, self.layouts)
        if not places:
            raise DatasetNotFoundError(
                f"found no {self.title} below {str(root)!r}; looked for\n{describe_layouts(root, self.layouts)}.\n"
                f"Get it from {self.source}"
            )
        return places[0]

    def split_places(self, place: Place) -> list[Path]:
        """Paths at which the papers' split file is searched, best first."""
        root = place.folder
        for _ in Path(place.layout.folder).parts:
            root = root.parent
        folders = [place.folder, place.image_root, place.folder.parent, root / self.layouts[0].folder, root]
        return [folder / self.split_file for folder in dict.fromkeys(folders)]

    def find_split(self, place: Place) -> Path:
        """Find the papers' split file.

        Raises:
            DatasetNotFoundError: names the file, the places searched and how to get it.
        """
        candidates = self.split_places(place)
        for path in candidates:
            if path.is_file():
                return path
        looked = ",\n".join(f"  {path}" for path in candidates)
        raise DatasetNotFoundError(
            f"{self.title} is in {str(place.folder)!r}, but the papers' split file {self.split_file} is not; looked "
            f"for\n{looked}.\nGet it from {self.split_link} and put it in the first place, or ask for a split by the "
            "papers' rule, which has other images: --split fallback"
        )

    def _read(self, path: Path, place: Place) -> Split:
        split = read_split(path)
        check_files(split, place.image_root, str(path))
        return split

    def _fallback_file(self, place: Place) -> Path:
        """Path of the fallback split's file, which is built if it does not exist yet."""
        name = self.split_file.replace("split_zhou_", "split_fallback_")
        beside = place.folder / name
        elsewhere = cache_folder() / "splits" / name
        for path in (beside, elsewhere):
            if path.is_file():
                return path
        assert self.fallback is not None, "a data set with a split file has a rule to replace it"
        split = self.fallback(place, random.Random(FALLBACK_SEED))
        check_split(split, f"the fallback split of {place.folder}")
        try:
            write_split(split, beside, notes=[FALLBACK_NOTE])
        except OSError:  # data folders are often read-only
            write_split(split, elsewhere, notes=[FALLBACK_NOTE])
            return elsewhere
        return beside

    def _differences(self, split: Split) -> tuple[str, ...]:
        """Notes for records, if the lists differ from the papers'."""
        known, sizes = facts(self.name), [len(items) for items in split]
        different = []
        if sizes != (wanted := [known.train, known.val, known.test]):
            different.append(f"{sizes} train, val and test images instead of {wanted}")
        if draw_differences(self.name, split, self.layouts[0].images, (CHECKED_DRAW,)):
            different.append("16 shots of seed 1 differ from the published draw")
        return (f"not the papers' images: {'; '.join(different)}",) if different else ()

"""A data set of the papers: where its files may lie, which split it uses, and how to load it."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adaptkit.regular_file import user_path
from datasets_fewshot.dataset import FewShotDataset, Split
from datasets_fewshot.paper_format.built_split import fallback_split, rebuild_papers_split
from datasets_fewshot.paper_format.facts import draw_differences, facts
from datasets_fewshot.paper_format.few_shot_list import listed_notes, with_tests_of
from datasets_fewshot.paper_format.layouts import Layout, Place, describe_layouts, find_places
from datasets_fewshot.paper_format.near_misses import near_misses
from datasets_fewshot.splits.few_shot_lines import is_lines, placed, read_lines
from datasets_fewshot.splits.found_files import find_files
from datasets_fewshot.splits.split_files import read_split
from datasets_fewshot.splits.validation import SplitError, UnreadableSplitError, check_split

CHECKED_DRAW = "train 16 1"  # the draw that loading checks; the doctor checks all of them
DRIVE = "https://drive.google.com/file/d/"


class DatasetNotFoundError(FileNotFoundError):
    """The files of a data set are in none of the known places; the message lists them."""


# A repository of the hub that holds the images of all data sets of the papers but ImageNet as zip files, each with its
# split file. It is maintained by the authors of PromptKD (arXiv:2403.02781).
HUB_COPY = "https://huggingface.co/zhengli97/prompt_learning_dataset"


def also(paper: "PaperDataset") -> str:
    """Where else the images lie together with the papers' split file; "" for ImageNet and its variants."""
    if paper.name.startswith("imagenet"):
        return ""
    return f", or together with its split file from {HUB_COPY} (hf download zhengli97/prompt_learning_dataset)"


@dataclass(frozen=True)
class Lists:
    """The lists of a data set, and what readers have to know of them."""

    split: Split
    origin: str  # in the doctor's words
    notes: tuple[str, ...] = ()  # for records
    moved: Mapping[str, str] = field(default_factory=dict)  # path in the lists -> path on disk, where they differ


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
    rebuilt_from: str = ""  # official lists from which `fallback` gives the papers' own split; "" if it does not
    official: Callable[[Place], Split] | None = None  # reads the data set's own lists, if there is no split file
    notes: tuple[str, ...] = ()  # remarks that every record must carry
    is_listed: bool = False  # `official` lists the image folders themselves, so that no file can be missing

    def load(self, root: Path | None, split: str | Path = "paper") -> FewShotDataset:
        """Load the data set from the folder that holds all data sets.

        Args:
            split: "paper" for the papers' split, from its file or, where they give the same lists, from the official
                ones; "fallback" builds one by the papers' rule if neither is there, writes it beside the images and
                marks the data set; else a split file, whose test images are the data set's own if it lists none.

        Raises:
            DatasetNotFoundError: if the images or the papers' split are not found.
            SplitError: if the split breaks a rule or lists images that are not there.
        """
        is_file = split not in ("paper", "fallback")
        if is_file and not user_path(split, "split file").is_file():
            raise ValueError(f"split is {str(split)!r}; use 'paper', 'fallback' or a split file that is there")
        place = self.find(root)
        if is_file:
            lists = self._listed(user_path(split, "split file"), place)
        else:
            lists = self.read_lists(place, may_fall_back=split == "fallback")
        return FewShotDataset(self.name, place.image_root, lists.split, (*self.notes, *lists.notes), moved=lists.moved)

    def find(self, root: Path | None) -> Place:
        """Find the first layout that is present below the root.

        Raises:
            DatasetNotFoundError: lists the folders searched, and what nearly fits.
        """
        if root is None:
            raise DatasetNotFoundError(f"{self.title} needs a root: the folder that holds {self.layouts[0].folder}/")
        places = [place for place in find_places(root, self.layouts) if place.has_images]
        if not places:
            hints = "".join(f"\n{hint}" for hint in near_misses(root, self.layouts, self.title))
            raise DatasetNotFoundError(
                f"found no {self.title} below {str(root)!r}; looked for\n{describe_layouts(root, self.layouts)}."
                f"{hints}\nGet it from {self.source}{also(self)}"
            )
        return places[0]

    def read_lists(self, place: Place, may_fall_back: bool = False) -> Lists:
        """Read or build the lists, and look for every image.

        Raises:
            DatasetNotFoundError: if the papers' split is not there and no other may be built.
            SplitError: if lists break a rule or name images that are not there.
        """
        if self.official is not None:
            return self._official_lists(self.official(place), place)
        assert self.fallback is not None, "a data set with a split file has a rule to replace it"
        file = self.split_file_at(place)
        if file is not None:
            try:
                split = read_split(file)
            except UnreadableSplitError as error:
                raise SplitError(f"{error}; download it again from {self.split_link}") from error
            moved = find_files(split, place.image_root, str(file))
            return Lists(split, f"split file {file}", self._differences(split), moved)
        reason = ""
        if self.rebuilt_from:
            rebuilt = rebuild_papers_split(self.name, self.fallback, place)
            if isinstance(rebuilt, Split):
                moved = find_files(rebuilt, place.image_root, self.rebuilt_from)
                return Lists(rebuilt, f"the papers' split, rebuilt from {self.rebuilt_from}", (), moved)
            reason = f" and cannot be rebuilt from {self.rebuilt_from} ({rebuilt})"
        if not may_fall_back:
            raise DatasetNotFoundError(self._split_is_missing(place, reason))
        name = self.split_file.replace("split_zhou_", "split_fallback_")
        split, notes = fallback_split(self.name, self.fallback, place, name)
        moved = find_files(split, place.image_root, f"the fallback split of {place.folder}")
        return Lists(split, "fallback split", notes, moved)

    def _listed(self, file: Path, place: Place) -> Lists:
        """The lists of a user's file; where it lists no test images, as a few-shot draw, those of the data set."""
        listed = read_lines(file) if is_lines(file) else read_split(file)
        if listed.test:
            moved = find_files(listed, place.image_root, str(file))
            return Lists(listed, f"split file {file}", self._differences(listed), moved)
        own = self.read_lists(place)
        if is_lines(file):
            listed = placed(listed, own.split.train, str(file))
        split = with_tests_of(listed, own.split, str(file))
        moved = find_files(Split(split.train, split.val, ()), place.image_root, str(file))
        notes = listed_notes(self.name, split, self.layouts[0].images, file.name)
        return Lists(split, f"few-shot list {file}", (*own.notes, *notes), {**own.moved, **moved})

    def split_file_at(self, place: Place) -> Path | None:
        """The papers' split file, if it is in one of its places."""
        return next((path for path in self._split_places(place) if path.is_file()), None)

    def _official_lists(self, split: Split, place: Place) -> Lists:
        if self.is_listed:
            return Lists(split, "the images in its folders", self._differences(split))
        check_split(split, str(place.folder))
        moved = find_files(split, place.image_root, str(place.folder))
        return Lists(split, "its own lists", self._differences(split), moved)

    def _split_places(self, place: Place) -> list[Path]:
        """Paths at which the papers' split file is searched, best first."""
        folders = [*place.folders(), place.root / self.layouts[0].folder, place.root]
        return [folder / self.split_file for folder in dict.fromkeys(folders)]

    def _split_is_missing(self, place: Place, reason: str) -> str:
        looked = ",\n".join(f"  {path}" for path in self._split_places(place))
        return (
            f"{self.title} is in {str(place.folder)!r}, but the papers' split file {self.split_file} is not{reason}; "
            f"looked for\n{looked}.\nGet it from {self.split_link}, or with all images from {HUB_COPY}, and put "
            "it in the first place, or ask for a split by the papers' rule, which has other images: --split fallback"
        )

    def _differences(self, split: Split) -> tuple[str, ...]:
        """Notes for records, if the lists differ from the papers'."""
        known, sizes = facts(self.name), [len(items) for items in split]
        different = []
        if sizes != (wanted := [known.train, known.val, known.test]):
            different.append(f"{sizes} train, val and test images instead of {wanted}")
        if draw_differences(self.name, split, self.layouts[0].images, (CHECKED_DRAW,)):
            different.append("16 shots of seed 1 differ from the published draw")
        return (f"not the papers' images: {'; '.join(different)}",) if different else ()

"""Files in, labelled images out: data sets for few-shot adaptation of CLIP.

The names that need torch are imported when they are first asked for, so that lists of images, and the reports on runs
that were tested on them, need not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from datasets_fewshot.dataset import FewShotDataset, Item, Split
from datasets_fewshot.images.read import BadImageError, load_image
from datasets_fewshot.mini.suite import MINI_DATASETS
from datasets_fewshot.own.load import load_own_data
from datasets_fewshot.paper_format.facts import imagenet_labels
from datasets_fewshot.paper_format.paper_dataset import DatasetNotFoundError, PaperDataset
from datasets_fewshot.papers.suite import PAPER_DATASETS
from datasets_fewshot.registry import list_datasets, load_dataset, register_dataset, suites
from datasets_fewshot.splits.draws import draw, list_draws
from datasets_fewshot.splits.files_hash import files_hash
from datasets_fewshot.splits.split_files import draw_few_shot, items_hash, read_split, select_classes, write_split
from datasets_fewshot.splits.validation import SplitError

if TYPE_CHECKING:
    from datasets_fewshot.images.transforms import eval_transform, train_transform
    from datasets_fewshot.store.feature_store import FeatureKey, FeatureStore

_NEED_TORCH = {
    "FeatureKey": "datasets_fewshot.store.feature_store",
    "FeatureStore": "datasets_fewshot.store.feature_store",
    "eval_transform": "datasets_fewshot.images.transforms",
    "train_transform": "datasets_fewshot.images.transforms",
}

__all__ = [
    "MINI_DATASETS",
    "PAPER_DATASETS",
    "BadImageError",
    "DatasetNotFoundError",
    "FeatureKey",
    "FeatureStore",
    "FewShotDataset",
    "Item",
    "PaperDataset",
    "Split",
    "SplitError",
    "draw",
    "draw_few_shot",
    "eval_transform",
    "files_hash",
    "imagenet_labels",
    "items_hash",
    "list_datasets",
    "list_draws",
    "load_dataset",
    "load_image",
    "load_own_data",
    "read_split",
    "register_dataset",
    "select_classes",
    "suites",
    "train_transform",
    "write_split",
]


def __getattr__(name: str) -> object:
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_NEED_TORCH[name]), name)

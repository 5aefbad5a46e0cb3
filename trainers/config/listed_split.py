"""A split file for one of the papers' data sets, as `DATA.SPLIT` names it: what it is of, and whether it is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from adaptkit.regular_file import read_bytes, user_path
from datasets_fewshot import read_split
from datasets_fewshot.splits.draws import LISTED
from datasets_fewshot.splits.few_shot_lines import is_lines, read_lines
from datasets_fewshot.splits.split_files import SPLIT_FILE, read_dataset_name
from trainers.config.settings import DataConfig
from trainers.config.values import ConfigError

FALLBACK = "fallback"


@dataclass(frozen=True)
class ListedSplit:
    """What the runs of one data set have to know of its split file."""

    dataset: str
    sha256: str
    is_drawn: bool  # it lists drawn images and no test images

    def draw(self, usual: str) -> str:
        """The draw of the data set's runs."""
        return LISTED if self.is_drawn else usual


def listed_split(data: DataConfig, datasets: Sequence[str]) -> ListedSplit | None:
    """What `DATA.SPLIT` says, if it names a file for data sets of the papers.

    Raises:
        ConfigError: if it is not clear which data set the file is of, or that one takes no part.
        ValueError: if the file is no split file; FileNotFoundError if there is none.
    """
    if data.own or data.split in (None, FALLBACK):
        return None
    assert data.split is not None
    path = user_path(data.split, "split file")
    content = sha256(read_bytes(path, SPLIT_FILE)).hexdigest()
    lines = is_lines(path)
    split, name = (read_lines(path), "") if lines else (read_split(path), read_dataset_name(path))
    if not name and len(datasets) > 1:
        raise ConfigError(
            f"DATA.SPLIT: {data.split} does not say which data set it is of, and there are {len(datasets)}; name one "
            "with --datasets"
        )
    if name and name not in datasets:
        raise ConfigError(f"DATA.SPLIT: {data.split} is of {name}, which takes no part; add --datasets {name}")
    return ListedSplit(name or datasets[0], content, not split.test)

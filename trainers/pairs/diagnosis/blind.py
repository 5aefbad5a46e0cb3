"""CLIP-blind pairs in a folder of the user's images: alike to the model, unlike to another encoder."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.regular_file import read_bytes, user_path
from datasets_fewshot import FewShotDataset, Item, Split
from datasets_fewshot.own.image_tree import walk_images
from trainers.evaluation.pair_tests.blind_pairs import blind_pairs
from trainers.pairs.judging import Looking, encoded_images

MOST_BYTES = 2**33  # of a file of features


@dataclass(frozen=True)
class BlindRequest:
    """Where the images and the other encoder's features are, and which pairs are wanted."""

    folder: Path
    features: Path  # .npy, a row for each image of the folder in the order of `listed_images`
    most: int = 50
    hi: float = 0.95
    lo: float = 0.6


@dataclass(frozen=True)
class BlindPair:
    """Two images and their cosines."""

    images: tuple[str, str]  # below the folder
    clip: float
    other: float


def listed_images(folder: Path) -> list[str]:
    """The images of a folder, below it, in the order in which rows of features are expected: sorted, folder by folder.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder of images {str(folder)!r}; check the path")
    return [path.relative_to(folder).as_posix() for path in walk_images(folder)]


def find_blind_pairs(method: AdaptedTowers, request: BlindRequest, looking: Looking) -> tuple[BlindPair, ...]:
    """Look for pairs that the method's image features cannot tell apart, and the other encoder's can.

    Raises:
        FileNotFoundError: if a path leads nowhere.
        ValueError: if the file is no array of a row for each image.
    """
    names = listed_images(request.folder)
    other = read_features(request.features)
    if len(names) != len(other) or len(names) < 2:
        raise ValueError(
            f"{str(request.folder)!r} has {len(names)} images and {str(request.features)!r} {len(other)} rows; give a "
            "row for each image, of two at least, in the order of their paths"
        )
    items = tuple(Item(name, 0, "image") for name in names)
    dataset = FewShotDataset(request.folder.name, request.folder, Split((), (), items), reading="upright")
    found = blind_pairs(encoded_images(method, dataset, items, looking), other, request.most, request.hi, request.lo)
    rows = zip(found.pairs.tolist(), found.clip.tolist(), found.other.tolist(), strict=True)
    return tuple(BlindPair((names[one], names[two]), near, far) for (one, two), near, far in rows)


def read_features(path: Path) -> Tensor:
    """Features (N, D) float32 of a .npy file; nothing in it is run.

    Raises:
        ValueError: if it is none, or holds another kind of array.
    """
    place = user_path(path, "file of features")
    content = read_bytes(place, "file of features", MOST_BYTES)
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise ValueError(f"{str(path)!r} is no .npy file of features ({error}); write one with numpy.save") from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f" or not array.size:
        raise ValueError(f"{str(path)!r} holds no matrix of floats; expected (images, width)")
    return torch.from_numpy(array.astype(np.float32))

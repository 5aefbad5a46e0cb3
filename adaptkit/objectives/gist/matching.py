"""Matching: which of its class's captions fit an image best (GIST's second step).

For an image x of class c with captions T_c, and the towers f and g of a frozen CLIP:
    q = softmax_j(100 <n(f(x)), n(g(T_c,j))>);    the 5 largest are kept, best first; the lower place first in a tie
An image is compared with captions of its own class alone, so no caption ever contradicts its label.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.layers.image_texts import fit_texts, pair_text
from adaptkit.options import near

MATCH_SCALE = 100.0  # the inverse temperature of q
KEPT = 5  # captions that are kept of an image
USED = 4  # captions of an image that tuning uses
NO_CAPTION = -1  # fills rows of images whose class has fewer captions
TEXTS_PER_PASS = 256


@dataclass(frozen=True)
class Matches:
    """For N images, their best captions among those of their class."""

    chosen: Tensor  # (N, top) int64, places within the class's captions, best first, -1 where there are no more
    probabilities: Tensor  # (N, M) q over the captions of the own class, 0 behind the last; M of the class with most


def match(image_features: Tensor, labels: Tensor, caption_features: Sequence[Tensor], top: int = KEPT) -> Matches:
    """Match images to the captions of their classes.

    Args:
        image_features: (N, D), of any length.
        labels: (N,) int64.
        caption_features: of every class its captions' features (M_c, D), of any length.

    Raises:
        ValueError: if a label has no captions.
    """
    wrong = [label for label in labels.unique().tolist() if not (0 <= label < len(caption_features))]
    wrong += [label for label, own in enumerate(caption_features) if not len(own) and bool((labels == label).any())]
    if wrong:
        raise ValueError(f"images of label {wrong[0]} have no captions; give every class one or more")
    most = max(len(own) for own in caption_features)
    probabilities = image_features.new_zeros(len(labels), most)
    chosen = torch.full((len(labels), top), NO_CAPTION, device=labels.device)
    for label in labels.unique().tolist():
        rows, own = labels == label, caption_features[label]
        cosines = F.normalize(image_features[rows], dim=-1) @ F.normalize(own, dim=-1).T  # (n, M_c)
        q = (MATCH_SCALE * cosines).softmax(dim=-1)
        best = q.argsort(dim=-1, descending=True, stable=True)[:, :top]
        probabilities[rows, : len(own)] = q
        chosen[rows, : best.shape[1]] = best
    return Matches(chosen, probabilities)


def match_files(
    files: Sequence[str],
    labels: Tensor,
    image_features: Tensor,
    captions: Sequence[Sequence[str]],
    caption_features: Sequence[Tensor],
    *,
    splits: Sequence[str] | None = None,
    top: int = KEPT,
    shorten: Callable[[str], str] | None = None,
) -> dict[str, list[str]]:
    """The best captions of every training image, by file: what `write_captions` writes, as released.

    Args:
        captions: of every class its captions, in the order of `caption_features`.
        splits: of every row "train", or something else; None where all rows are training images. A file that comes
            again keeps the captions of its first row.
        shorten: turns each chosen caption into a shorter one, such as a model that summarises it.
    """
    first: dict[str, int] = {}
    for row, file in enumerate(files):
        if splits is None or splits[row] == "train":
            first.setdefault(file, row)
    rows = torch.tensor(list(first.values()), dtype=torch.int64, device=labels.device)
    matches = match(image_features[rows], labels[rows], caption_features, top)
    found: dict[str, list[str]] = {}
    for file, label, places in zip(first, labels[rows].tolist(), matches.chosen.tolist(), strict=True):
        texts = [captions[label][place] for place in places if place != NO_CAPTION]
        found[file] = [shorten(text) for text in texts] if shorten else texts
    return found


@torch.no_grad()
def encode_captions(backbone: FrozenCLIP, captions: Sequence[Sequence[str]]) -> list[Tensor]:
    """Features (M_c, D) of every class's captions, cut to the context, through the towers as they were loaded."""
    texts = fit_texts([text for own in captions for text in own], backbone.tokenizer)
    passes = [texts[start : start + TEXTS_PER_PASS] for start in range(0, len(texts), TEXTS_PER_PASS)]
    matcher = backbone.as_loaded()
    features = torch.cat([at_least_fp32(matcher.encode_text(some)) for some in passes])
    return list(features.split([len(own) for own in captions]))


def class_key(line: str) -> str:
    """The key of a class in a file of captions, from its line in the released lists: "001.Tree_Frog" -> "tree-frog".

    Raises:
        ValueError: if the line has no dot.
    """
    parts = line.split(".")
    if len(parts) < 2:
        raise ValueError(f"{line!r} is no line of a list of classes; expected NUMBER.NAME")
    return parts[1].lower().replace("_", "-").strip()


def captions_of_classes(
    classnames: Sequence[str], captions: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, ...], ...]:
    """The captions of every class, found by its name; case, "_", "-" and white space around it do not matter.

    Raises:
        ValueError: if a class has none.
    """
    known = {_spelt(key): tuple(own) for key, own in captions.items()}
    for name in classnames:
        if _spelt(name) not in known:
            nearest = near(_spelt(name), known)
            hint = f"; the nearest is {nearest[0]!r}" if nearest else ""
            raise ValueError(f"the captions have no class {name!r}{hint}; give every class a list of captions")
    return tuple(known[_spelt(name)] for name in classnames)


def training_texts(
    files: Sequence[str],
    names: Sequence[str],
    splits: Sequence[str],
    captions: Mapping[str, Sequence[str]],
    num_captions: int = USED,
    *,
    always: bool = True,
) -> list[str]:
    """The texts of an epoch as released: of every training image, row by row, its first captions behind its class name.

    Args:
        names: of every row the class name.
        captions: by file; files that are no training images are not read.
        always: put the name in front of every caption, as released; False leaves it out where the caption has it.

    Raises:
        ValueError: if a training image has no captions, or fewer than `num_captions`.
    """
    texts: list[str] = []
    for file, name, split in zip(files, names, splits, strict=True):
        if split != "train":
            continue
        own = captions.get(file, ())
        if len(own) < num_captions:
            raise ValueError(f"{file} has {len(own)} captions; expected {num_captions} or more, or lower num_captions")
        texts += [pair_text(name, caption, always=always) for caption in own[:num_captions]]
    return texts


def _spelt(name: str) -> str:
    return name.strip().lower().replace("_", " ").replace("-", " ")

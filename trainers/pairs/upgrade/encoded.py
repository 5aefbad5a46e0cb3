"""Pairs as two models see them: features of images and captions of every part, encoded once and kept."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from adaptkit import FrozenCLIP, create_method
from adaptkit.artefacts.atomic_file import replacing
from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.layers.image_texts import fit_text
from adaptkit.regular_file import FileError, read_bytes
from datasets_fewshot import FewShotDataset, files_hash
from datasets_fewshot.pairs.pair_set import PairSet
from trainers.evaluation.upgrade import Rows
from trainers.pairs.batches import Captions, as_dataset, captions_of
from trainers.pairs.judging import Looking, encoded_images, encoded_texts

PartName = Literal["train", "val", "test"]
MAX_FEATURES_BYTES = 2**35


@dataclass(frozen=True)
class KeptFeatures:
    """A folder of features that are encoded once; a training that was interrupted finds them there.

    Args:
        folder: None keeps nothing.
    """

    folder: Path | None = None

    def get(self, facts: Sequence[object], encode: Callable[[], Tensor]) -> Tensor:
        """The features (N, D) that the facts stand for; a damaged file is encoded again."""
        if self.folder is None:
            return encode()
        name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
        path = self.folder / f"features-{name}.safetensors"
        try:
            return safetensors.torch.load(read_bytes(path, "features", MAX_FEATURES_BYTES))["rows"]
        except (FileNotFoundError, FileError, SafetensorError, KeyError):
            rows = encode().cpu().contiguous()
            with replacing(path) as temporary:
                temporary.write_bytes(safetensors.torch.save({"rows": rows}))
            return rows

    def discard(self) -> None:
        """Remove them."""
        for path in () if self.folder is None else self.folder.glob("features-*.safetensors"):
            path.unlink(missing_ok=True)


class Encoded:
    """Image-text pairs as one model encodes them.

    Args:
        kept: where features are kept.
    """

    def __init__(self, backbone: FrozenCLIP, pairs: PairSet, looking: Looking, kept: KeptFeatures | None = None):
        self.backbone, self.pairs, self.looking = backbone, pairs, looking
        self.kept = kept or KeptFeatures()
        self.dataset: FewShotDataset = as_dataset(pairs)
        self.plain = create_method("zero_shot", backbone, None)
        self._captions: dict[str, Captions] = {}

    def captions(self, part: PartName) -> Captions:
        """The captions of a part, cut to what this model reads."""
        if part not in self._captions:
            self._captions[part] = captions_of(getattr(self.pairs, part), self.backbone.tokenizer)
        return self._captions[part]

    def rows(self, part: PartName, method: AdaptedTowers | None = None) -> Rows:
        """Features of a part's images and captions, not normalised: by the model, or by a method on it."""
        items, texts = getattr(self.dataset.split, part), self.captions(part).texts
        if method is not None:
            images = encoded_images(method, self.dataset, items, self.looking)
            return Rows(images, encoded_texts(method, texts, self.looking.precision))
        images = self.kept.get(
            ["images", self.backbone.weights_hash, self.looking.precision, files_hash(self.pairs.image_root, items)],
            lambda: encoded_images(self.plain, self.dataset, items, self.looking),
        )
        return Rows(images.to(self.backbone.device), self._texts(texts))

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Features (M, D) of any texts, not normalised; those that are too long are cut."""
        return self._texts([fit_text(text, self.backbone.tokenizer) for text in texts])

    def _texts(self, texts: Sequence[str]) -> Tensor:
        rows = self.kept.get(
            ["texts", self.backbone.weights_hash, self.looking.precision, list(texts)],
            lambda: encoded_texts(self.plain, texts, self.looking.precision),
        )
        return rows.to(self.backbone.device)


def groups_of(pairs: PairSet) -> Tensor:
    """Groups (N,) int64 of the training images."""
    names = {name: place for place, name in enumerate(dict.fromkeys(item.group for item in pairs.train))}
    return torch.tensor([names[item.group] for item in pairs.train])


def check_parts(pairs: PairSet, parts: Sequence[PartName]) -> None:
    """Refuse pairs with too little in a part.

    Raises:
        ValueError: names the part.
    """
    for part in parts:
        count = len(getattr(pairs, part))
        if count < 2:
            raise ValueError(
                f"{pairs.name} has {count} images for {part}; an upgrade needs two or more there: give more pairs, or "
                "name the parts in a column `split`"
            )

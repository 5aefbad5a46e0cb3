"""The names that stand for unknown classes while OGEN trains, and their class weights W'."""

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.classes.class_file import read_classes
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.class_weights import class_weights, mean_of_sentences
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.layers.full_precision import at_least_fp32

LEAST_HIDDEN = 2  # so that every image has an unknown name that is not its own


def hide_half(n_classes: int) -> Tensor:
    """A random half of the classes, in a random order, as int64; of three classes or fewer two."""
    return torch.randperm(n_classes)[: max(LEAST_HIDDEN, n_classes // 2)]


def names_of_file(path: str, classnames: Sequence[str]) -> tuple[str, ...]:
    """The names of a file of class names that are none of the classes', whatever their case.

    Raises:
        ValueError: if the file has no other name.
    """
    names = read_classes(path).readable
    known = {_spelt(name) for name in classnames}
    others = tuple(dict.fromkeys(name for name in names if _spelt(name) not in known))
    if not others:
        raise ValueError(f"all {len(names)} names of {path} are names of the training; give a file with others")
    if len(others) < len(names):
        warnings.warn(
            f"{len(names) - len(others)} of the {len(names)} names of {path} are known or come twice and are left out",
            stacklevel=2,
        )
    return others


def _spelt(name: str) -> str:
    return name.replace("_", " ").strip().lower()


class UnknownNames:
    """Class weights W' of names that a method has no images of, as its own class weights come about.

    A method whose prompts are learnt puts them around the names; one whose prompts are hand-written puts the names into
    its templates. Where nothing on the text side learns for other names, as in TaskRes, they are those of the frozen
    tower, encoded once.

    Raises:
        ValueError: if the method's prompts depend on the image, so that no name has weights of its own.
    """

    def __init__(self, method: AdaptedCLIP, names: Sequence[str]):
        if "weights_per_image" in method.provides:
            raise ValueError(
                f"the prompts of {type(method).__name__} depend on the image, and ogen encodes names without one; set "
                "unknown_names to held_out_base, which takes the classes' own"
            )
        self.classes = ClassSet(tuple(names), method.classes.templates)
        self.fixed: Tensor | None = None
        if "encode_text" not in method.provides:
            self.fixed = at_least_fp32(class_weights(method.backbone, self.classes))
        elif not self._learns(method):
            with torch.no_grad():
                self.fixed = self.weights(method)

    @torch.enable_grad()
    def _learns(self, method: AdaptedCLIP) -> bool:
        return self.weights(method, torch.arange(1)).requires_grad

    def __len__(self) -> int:
        return len(self.classes)

    def weights(self, method: AdaptedCLIP, places: Tensor | None = None) -> Tensor:
        """W' (C', D), unit rows, of the names in these places (C',) int64; None for all of them."""
        if self.fixed is not None:
            return self.fixed if places is None else self.fixed[places.to(self.fixed.device)]
        names = self.classes.readable if places is None else [self.classes.readable[place] for place in places.tolist()]
        if not method.takes_sentences:
            return F.normalize(at_least_fp32(method.encode_text(names)), dim=-1)
        classes = ClassSet(tuple(names), self.classes.templates)
        texts = [text for own in classes.texts for text in own]
        return mean_of_sentences(at_least_fp32(method.encode_text(texts)), classes)

"""Pair accuracy: every true text of an image is nearer to it than every false one."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.evaluation.pair_tests.cosines import beats, checked, cosine

Encode = Callable[[Sequence[str]], Tensor]  # M texts -> features (M, D), not normalised


@torch.no_grad()
def pair_outcomes(image_features: Tensor, text_features: Tensor, image_of_text: Tensor, is_true: Tensor) -> Tensor:
    """Whether min over true texts > max over false texts of the cosine, for each image: (N,) bool; ties are errors.

    Args:
        image_features: (N, D), not normalised.
        text_features: (M, D), not normalised, true and false texts of all images in any order.
        image_of_text: (M,) int64, the image that each text is compared with.
        is_true: (M,) bool.

    Raises:
        ValueError: if an image has no true or no false text, or shapes do not belong together.
    """
    count = len(image_features)
    image_of_text, is_true = image_of_text.cpu(), is_true.cpu()
    if image_of_text.shape != (len(text_features),) or is_true.shape != image_of_text.shape:
        raise ValueError(
            f"{len(text_features)} texts have an image_of_text of shape {tuple(image_of_text.shape)} and an is_true of "
            f"shape {tuple(is_true.shape)}; expected one entry for each text"
        )
    for what, chosen in (("true", is_true), ("false", ~is_true)):
        without = torch.bincount(image_of_text[chosen], minlength=count) == 0
        if without.any():
            raise ValueError(f"item {int(without.nonzero()[0])} has no {what} text; give it one of each, at least")
    own = image_features.cpu()[image_of_text]
    texts, images = checked("text_features", "image_features", text_features=text_features, image_features=own)
    cosines = cosine(texts, images)  # (M,)
    ends = torch.zeros(count, dtype=cosines.dtype)
    least = ends.scatter_reduce(0, image_of_text[is_true], cosines[is_true], "amin", include_self=False)
    most = ends.scatter_reduce(0, image_of_text[~is_true], cosines[~is_true], "amax", include_self=False)
    return beats(least, most)


@dataclass(frozen=True)
class TextChoice:
    """True and false texts of one image."""

    positives: tuple[str, ...]
    negatives: tuple[str, ...]


@dataclass(frozen=True)
class PairAccuracy:
    """Pair accuracy of N items, each an image with true and false texts.

    Example:
        ```python
        import adaptkit, torch
        from trainers.evaluation.pair_tests.accuracy import PairAccuracy, TextChoice

        backbone = adaptkit.load_backbone("adaptkit-mini")
        items = PairAccuracy([TextChoice(("a red heart",), ("a blue heart", "a green heart"))])
        images = backbone.encode_image(torch.rand(1, 3, 48, 48))
        print(items.accuracy(images, backbone.encode_text), "%, at random", items.chance)
        ```
    """

    items: Sequence[TextChoice]

    def outcomes(self, image_features: Tensor, encode_texts: Encode) -> Tensor:
        """Whether each item is right, (N,) bool, from features (N, D) of the images.

        Raises:
            ValueError: as `pair_outcomes`, or if there are not as many images as items.
        """
        if len(image_features) != len(self.items) or not self.items:
            raise ValueError(f"{len(image_features)} images and {len(self.items)} items; expected as many, one or more")
        listed = [
            (place, text, true)
            for place, item in enumerate(self.items)
            for texts, true in ((item.positives, True), (item.negatives, False))
            for text in texts
        ]
        places, texts, true = zip(*listed, strict=True)
        different = list(dict.fromkeys(texts))  # each is encoded once, so that equal texts have equal features
        row = {text: number for number, text in enumerate(different)}
        features = encode_texts(different)[[row[text] for text in texts]]
        return pair_outcomes(image_features, features, torch.tensor(places), torch.tensor(true))

    def accuracy(self, image_features: Tensor, encode_texts: Encode) -> float:
        """Right items in percent; arguments and errors are those of `outcomes`."""
        return 100 * float(self.outcomes(image_features, encode_texts).double().mean())

    @property
    def chance(self) -> float:
        """What random cosines would get, in percent: the mean of 1 / binomial(texts, true texts)."""
        return sum(chance_of(len(item.positives), len(item.negatives)) for item in self.items) / len(self.items)


def chance_of(positives: int, negatives: int) -> float:
    """The probability in percent that random cosines put all true texts before all false ones."""
    return 100 / math.comb(positives + negatives, positives)

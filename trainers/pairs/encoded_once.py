"""What a training on pairs encodes once: a side that does not learn, and features behind which a method learns."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.pair_objective import PairObjective, learning_sides, text_features
from datasets_fewshot import FewShotDataset
from trainers.compute.precision import Precision
from trainers.pairs.judging import Encode, Looking, encoded_images, encoded_texts


def image_rows(
    method: AdaptedTowers, objective: PairObjective, dataset: FewShotDataset, looking: Looking
) -> Tensor | None:
    """What a training needs of each training image (N, ...), without augmentation; None where images are encoded anew.

    Args:
        dataset: the images of the pairs.
    """
    encode: Encode
    if method.consumes == "features":
        encode = partial(objective.image_input, method)
    elif not learning_sides(method, objective)[0]:
        encode = partial(objective.image_side, method)
    else:
        return None
    return encoded_images(method, dataset, dataset.split.train, looking, encode)


def text_encoder(
    method: AdaptedTowers, objective: PairObjective, precision: Precision
) -> Callable[[Sequence[str]], Tensor] | None:
    """Texts -> what a training needs of them (M, ...); None where texts are encoded anew in every step."""
    encode: Callable[[Sequence[str]], Tensor]
    if "text_features_of" in method.provides:
        encode = method.backbone.encode_text
    elif learning_sides(method, objective)[1]:
        return None
    elif objective.writes_texts:
        encode = partial(text_features, method)
    else:
        encode = partial(objective.text_side, method)

    def once(texts: Sequence[str]) -> Tensor:
        was_training = method.training
        rows = encoded_texts(method, texts, precision, encode)
        method.train(was_training)
        return rows

    return once

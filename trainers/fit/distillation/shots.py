"""A few images of new classes for a distilled student: to be found again by, or to learn from.

Departure: the released code counts views in place of images, so that its retrieval stops after the first file of a
class; ours takes five files. Its few-shot fine-tuning ends in an error; ours trains on the old images and the shots.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit import FrozenCLIP
from adaptkit.weights.ood_distill.retrieval import SHOTS, VIEWS_PER_SHOT
from datasets_fewshot import FewShotDataset, Item, Split
from trainers.feeding.encoder import eval_view
from trainers.feeding.views import view_seed
from trainers.fit.distillation.views import SquashedDataset, student_view


def first_shots(items: Sequence[Item], count: int = SHOTS) -> tuple[Item, ...]:
    """The first different files of every class in the order of their names, class by class.

    Raises:
        ValueError: if a class has fewer files.
    """
    by_label: dict[int, set[Item]] = defaultdict(set)
    for item in items:
        by_label[item.label].add(item)
    chosen: list[Item] = []
    for label in sorted(by_label):
        own = sorted(by_label[label], key=lambda item: item.path)[:count]
        if len(own) < count:
            raise ValueError(f"the class {own[0].classname!r} has {len(own)} images; {count} shots are asked for")
        chosen += own
    return tuple(chosen)


@torch.no_grad()
def shot_keys(
    dataset: SquashedDataset, shots: Sequence[Item], teacher: FrozenCLIP, seed: int = 1, views: int = VIEWS_PER_SHOT
) -> Tensor:
    """Keys (C, M, D) for `retrieval_logits`: unit teacher features of `views` views of every shot.

    The first view of a shot is its image as it is; the others are random crops.

    Args:
        shots: as many of every class, class by class.
    """
    classes = len({item.label for item in shots})
    preprocess = teacher.preprocess_cfg
    keys = []
    for item in shots:
        image = dataset.load(item)
        random = partial(student_view, image, preprocess, False)
        drawn = [random(view_seed(seed, item.path, view)) for view in range(1, views)]
        pixels = torch.stack([eval_view(image, preprocess), *drawn])
        keys.append(F.normalize(teacher.encode_image(pixels.to(teacher.device)), dim=-1))
    return torch.stack(keys).reshape(classes, -1, keys[0].shape[-1])


def with_shots(dataset: FewShotDataset, others: FewShotDataset, shots: Sequence[Item]) -> FewShotDataset:
    """The training images with the shots of other classes behind them, whose labels follow, for fine-tuning.

    Args:
        others: the data set of the shots, in the same folder.
    """
    offset = len(dataset.classnames)
    moved = tuple(replace(item, label=item.label + offset) for item in shots)
    train = (*dataset.split.train, *moved)
    return replace(dataset, split=Split(train, (), ()), moved={**dataset.moved, **others.moved})

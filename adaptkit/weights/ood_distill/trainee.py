"""A student while it learns: images and labels in, the weighted sum of the distillation losses out.

The teacher sees an image once, as it is, and the student sees a new random view of it in every pass; that is the
released recipe. Where the batches do not say which images they show, the teacher sees the student's view instead.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.student_tower import StudentTower
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.class_weights import class_weights
from adaptkit.contract.method import AdaptedCLIP, Consumes
from adaptkit.weights.ood_distill.losses import DistillationLossConfig, check_width, distillation_terms
from adaptkit.weights.ood_distill.retrieval import zero_shot_logits


class StudentInTraining(AdaptedCLIP):
    """A student's image tower that learns beside its frozen teacher, which is the backbone.

    Args:
        teacher: the frozen CLIP.
        classes: the training classes, with what is said of them.
        tower: the student, which takes the teacher's place in front of images.
        config: the losses.
        teacher_features: (N, D), what the teacher has of the N training images; None where it is to see each view of
            the student's.
        caption_features: (N, D), texts of the images' auxiliary captions, for L_cap.
        text_features: (C, D), what the teacher's side says of the classes, such as the class weights of an adapted
            teacher; None takes the texts of `classes`.

    Raises:
        ValueError: if texts and teacher features are not of one width, or L_cap has no captions.
    """

    consumes: Consumes = "images"
    takes_sentences = True
    provides = frozenset({"class_weights"})

    def __init__(
        self,
        teacher: FrozenCLIP,
        classes: ClassSet,
        tower: StudentTower,
        config: DistillationLossConfig,
        teacher_features: Tensor | None = None,
        caption_features: Tensor | None = None,
        text_features: Tensor | None = None,
    ):
        super().__init__(teacher, classes)
        self.tower, self.config = tower, config
        texts = class_weights(teacher, classes) if text_features is None else text_features
        if config.cap and caption_features is None:
            raise ValueError(f"cap={config.cap} and there are no captions of the images; give them, or cap=0")
        for rows in (teacher_features, caption_features):
            if rows is not None:
                check_width(rows, texts)
        self.text_features: Tensor
        self.teacher_features: Tensor | None
        self.caption_features: Tensor | None
        self.register_buffer("text_features", texts.detach(), persistent=False)
        self.register_buffer("teacher_features", teacher_features, persistent=False)
        self.register_buffer("caption_features", caption_features, persistent=False)

    def encode_image(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), preprocessed for the student -> the student's features (B, D), not normalised."""
        return self.tower(images)

    def logits(self, x: Tensor) -> Tensor:
        return zero_shot_logits(self.encode_image(x), self.class_weights(), self.config.tau)

    def class_weights(self) -> Tensor:
        return F.normalize(self.text_features, dim=-1)

    def loss(self, x: Tensor, labels: Tensor, places: Tensor | None = None) -> Tensor:
        """Images (B, 3, H, W) of the student and labels (B,) -> scalar.

        Args:
            places: (B,) int64, which of the N training images the rows are; None has the teacher see the same views.

        Raises:
            ValueError: if L_cap has a weight, and no places name the images' captions.
        """
        known = None if places is None else self.teacher_features
        teacher = self.teacher_of_views(x) if known is None else known[places]
        captions = None
        if self.config.cap and self.caption_features is not None:
            if places is None:
                raise ValueError(f"cap={self.config.cap} needs the places of the images, which name their captions")
            captions = self.caption_features[places]
        terms = distillation_terms(self.encode_image(x), teacher, self.text_features, labels, self.config, captions)
        return torch.stack(list(terms.values())).sum()

    @torch.no_grad()
    def teacher_of_views(self, x: Tensor) -> Tensor:
        """The teacher's features (B, D) of images (B, 3, H, W) that are preprocessed for the student."""
        mine, theirs = self.tower.plan, self.backbone.preprocess_cfg
        pixels = x * _column(mine.std, x) + _column(mine.mean, x)
        if tuple(x.shape[-2:]) != tuple(theirs.image_size):
            pixels = F.interpolate(pixels, theirs.image_size, mode="bicubic", antialias=True).clamp(0, 1)
        return self.backbone.encode_image((pixels - _column(theirs.mean, x)) / _column(theirs.std, x))


def _column(values: tuple[float, float, float], like: Tensor) -> Tensor:
    """Three numbers as (3, 1, 1)."""
    return like.new_tensor(values)[:, None, None]

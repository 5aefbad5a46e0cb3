"""AdaptedCLIP: what every method that classifies promises, whatever it learns."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.inputs import Consumes
from adaptkit.classes.class_prompts import keep_texts
from adaptkit.classes.class_set import ClassSet, as_class_set
from adaptkit.contract.adapted_towers import AdaptedTowers, MethodSpec, Part
from adaptkit.contract.answers import Answering, Prediction, Scores
from adaptkit.contract.architecture import Architecture, ArchitectureSearch
from adaptkit.contract.prediction import Images, predict
from adaptkit.contract.replicas import Replicas

__all__ = ["AdaptedCLIP", "Consumes", "MethodSpec", "Part", "Sees", "Support"]

Sees = Literal["episodic", "online", "transductive"]  # of the test images: one alone, those before it, or all


@dataclass(frozen=True)
class Support:
    """Labelled examples: x is what the method consumes, (N, ...) or (N, V, ...) for V views each; labels (N,) int64."""

    x: Tensor
    labels: Tensor


class AdaptedCLIP(AdaptedTowers, is_contract=True):
    """Adapted towers that tell classes apart by their names.

    A method writes `consumes`, `logits` and `loss`. Where other names can take over it writes `rebuild_from_names`;
    where they cannot, `bound_to_classes` gives the reason. The optional parts that it writes stand in `provides`: a
    class that writes one and does not declare it is refused when it is defined. One whose loss is more than the
    cross-entropy of its logits writes `regularizer`; one whose loss reads no labels says so in `learns_from_labels`.
    One that consumes images and classifies the projected class token against its class weights writes `image_tokens`.
    """

    support_views: int = 0  # V random views of each support image that `prepare` wants; 0: the image as it is
    support_items: int | None = None  # training items that `prepare` wants, spread over all; None: all of them
    takes_sentences: bool = False  # whether prompts are hand-written, so that classes may have their own
    first_row_only: bool = False  # whether of "tokens" it reads the first row alone, so that no other has to be kept
    sees: ClassVar[Sees | None] = None  # what it learns from of unlabelled test images; None: nothing
    mixes_classes: bool = False  # whether the score of a class depends on which other classes there are
    is_usual: ClassVar[bool] = True  # whether tables of the "usual" methods have it; False for what takes long
    prepares_again: bool = False  # whether `prepare` is to be called again when the image tower has learnt
    learns_from_labels: bool = True  # whether `loss` reads the labels that it is given
    reads_several_labels: bool = False  # whether `prepare` and `tune` take labels (N, C) of 0 and 1 as well
    trains_alone: ClassVar[str | None] = None  # why replicas of it cannot be trained together, where that has a reason

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet):
        super().__init__(backbone)
        self._check_sentences(classes)
        self.classes = classes
        self._kept_weights: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), preprocessed or uint8 -> logits (B, C), whatever the method consumes."""
        return self.logits(self.consume(images))

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """Input of the kind that the method consumes -> logits (B, C)."""

    def logits_in_order(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """Parts of one test, in order, of the kind that the method consumes -> logits (B, C) of each part.

        Methods that adapt to test images carry what they saw from one part to the next; to others parts are nothing.
        """
        return map(self.logits, parts)

    @abstractmethod
    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """Input of the kind that the method consumes, labels (B,) int64 -> scalar.

        With label smoothing, `labels` are probabilities of the classes (B, C), which torch's cross-entropy takes alike.
        """

    def regularizer(self, x: Tensor, labels: Tensor) -> Tensor | None:
        """What `loss` adds to the cross-entropy of `logits`: a scalar, or None for nothing."""
        return None

    @property
    def label_thresholds(self) -> Tensor | None:
        """Logits (C,) from which labels are answers, where an image may have several; None where it has one class."""
        return None

    def hands_out_tokens(self) -> bool:
        """Whether `image_tokens` and `logits_of_tokens` can be called."""
        return self.consumes != "images" or "image_tokens" in self.provides

    def image_tokens(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> output rows (B, 1 + P, D_v) of the image tower as this method runs it.

        Raises:
            TypeError: if the method changes the image tower and does not say how its rows come about.
        """
        if self.consumes == "images":
            raise TypeError(f"{type(self).__name__} runs an image tower of its own and does not hand out its rows")
        return self.backbone.encode_tokens(images)

    def logits_of_tokens(self, tokens: Tensor) -> Tensor:
        """Output rows (B, 1 + P, D_v) of `image_tokens` -> logits (B, C), the same as of the images themselves."""
        if self.consumes == "tokens":
            return self.logits(tokens)
        image_features = self.backbone.project_tokens(tokens[:, 0])
        if self.consumes == "features":
            return self.logits(image_features)
        return self.backbone.logits(image_features, self.current_class_weights())

    def set_classes(self, classnames: Sequence[str] | ClassSet) -> None:
        """Tell other classes apart: what is learnt stays, what depends on the names is rebuilt.

        Args:
            classnames: names in label order, which keep the templates of before, or a `ClassSet` with its own.

        Raises:
            TypeError: if what is learnt belongs to the classes it was learnt on; nothing changes then.
            ValueError: if a name is blank or too long; nothing changes then.

        Example:
            ```python
            backbone = adaptkit.load_backbone("adaptkit-mini")
            method = adaptkit.create_method("clip_adapter", backbone, ["corgi", "husky"])
            method.set_classes(["tabby cat", "violin", "sushi"])
            assert method(torch.rand(4, 3, 48, 48)).shape == (4, 3)
            ```
        """
        if self.bound_to_classes is not None:
            raise TypeError(self.bound_to_classes)
        before, replaced = self.classes, False
        self.classes = self.class_set(classnames)
        try:
            self.rebuild_from_names()
            replaced = True
        finally:
            if not replaced:
                self.classes = before
        if self._kept_weights is not None:
            self._kept_weights = self._weights_or_none()

    def rebuild_from_names(self) -> None:
        """Rebuild what depends on the names and templates of `self.classes`, which are new."""
        raise NotImplementedError

    @property
    def bound_to_classes(self) -> str | None:
        if type(self).rebuild_from_names is not AdaptedCLIP.rebuild_from_names:
            return None
        return (
            f"{type(self).__name__} is bound to the {len(self.classes)} classes it was made for, because it has no "
            "`rebuild_from_names`"
        )

    def class_set(self, classnames: Sequence[str] | ClassSet) -> ClassSet:
        """Names with the templates that this method has now; a `ClassSet` brings its own.

        Raises:
            ValueError: if its classes have sentences of their own, which this method does not read.
        """
        if not isinstance(classnames, ClassSet):
            return as_class_set(classnames, self.classes.templates)
        self._check_sentences(classnames)
        return classnames

    def _check_sentences(self, classes: ClassSet) -> None:
        if classes.sentences is not None and not self.takes_sentences:
            raise ValueError(
                f"{type(self).__name__} takes no sentences of single classes, because its prompts or its head come "
                "from the class names in another way than hand-written sentences; give the names alone, or take "
                "zero_shot, clip_adapter, or a method that changes the towers' weights"
            )

    def class_weights(self) -> Tensor:
        """The classifier (C, D), unit rows, that the images' features meet; the same for every image.

        Raises:
            TypeError: if the method has none, because its prompts or its head depend on the image.
        """
        raise TypeError(f"{type(self).__name__} has no class weights that hold for every image")

    def weights_per_image(self, x: Tensor) -> Tensor:
        """The classifier (B, C, D), unit rows, of each image of x, where prompts depend on the image.

        Raises:
            TypeError: if every image meets the same `class_weights`, or there are none.
        """
        raise TypeError(f"{type(self).__name__} has no class weights that depend on the image")

    def prepare(self, support: Support) -> None:
        """See all of the support set once, before training."""
        return None

    def tune(self, validation: Support) -> None:
        """Choose the method's own hyper-parameters on validation images, after training.

        Test images are for a comparison that is called "oracle" wherever its result stands.
        """
        return None

    def search(self) -> ArchitectureSearch | None:
        """The search that has to come before training, such as which blocks to skip; None where there is none."""
        return None

    def architecture(self) -> Architecture | None:
        """Which blocks are skipped, and what the towers cost; None where they run as they were loaded."""
        return None

    def backward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Leave the gradients of one batch in `.grad`; returns the loss, detached."""
        loss = self.loss(x, labels)
        if loss.requires_grad:  # nothing to learn, nothing to do
            loss.backward()
        return loss.detach()

    def backward_replicas(self, replicas: Replicas, x: Tensor, labels: Tensor) -> Tensor:
        """Leave the gradients of R replicas in the `.grad` of their learnt tensors; returns the losses (R,), detached.

        A method that writes it changes nothing in training but what it learns: no buffer, no noise, nothing by epochs.
        Of each replica there is one batch: x (R, B, ...), of the kind that the method consumes, and its labels (R, B).
        """
        raise TypeError(f"replicas of {type(self).__name__} cannot be trained together; train them one by one")

    @contextmanager
    def encode_classes_once(self) -> Iterator[None]:
        """Inside the block the class texts are encoded once; nothing may be learnt there. Blocks may be nested."""
        if self._kept_weights is not None:
            yield
            return
        with keep_texts(self):
            self._kept_weights = self._weights_or_none()
            try:
                yield
            finally:
                self._kept_weights = None

    @contextmanager
    def share_class_weights(self) -> Iterator[Tensor]:
        """Inside the block all who read the class weights (C, D) share them, and their gradients; for one step.

        Raises:
            TypeError: if the method has none, because its prompts or its head depend on the image.
        """
        kept = self._kept_weights
        self._kept_weights = self.current_class_weights()
        try:
            yield self._kept_weights
        finally:
            self._kept_weights = kept

    @torch.no_grad()
    def _weights_or_none(self) -> Tensor | None:
        return self.class_weights() if "class_weights" in self.provides and len(self.classes) else None

    @property
    def innermost(self) -> "AdaptedCLIP":
        """The method inside of all wrappers; its backbone has what each of them makes of the towers."""
        return self

    def folds_classes(self) -> bool:
        """Whether nothing is left to compute of the class names inside `encode_classes_once`, as an export needs."""
        return "class_weights" in self.provides or self.bound_to_classes is not None

    def current_class_weights(self) -> Tensor:
        """The `class_weights` (C, D), or the ones that `encode_classes_once` keeps.

        Raises:
            ValueError: if the method was made without classes and has none yet.
        """
        if not len(self.classes):
            raise ValueError(f"this {type(self).__name__} has no classes yet; give it some with set_classes")
        return self.class_weights() if self._kept_weights is None else self._kept_weights

    def predict(
        self,
        images: Images,
        topk: int = 5,
        batch_size: int = 64,
        *,
        reject: float | None = None,
        scores: Scores | None = None,
        offset: float | None = None,
    ) -> list[Prediction]:
        """Classify paths, PIL images, arrays, tensors, or one of these: `prediction.predict`.

        Args:
            topk: classes per image; all of them where there are fewer.
            reject: the label is "unknown" where even the best class has a lower score; None answers always.
            scores: "softmax" of all classes, or "independent" of each class, by sigmoid(logit - offset). None takes
                the softmax, or of a method that has learnt several labels per image its independent scores.
            offset: of independent scores; see `adaptkit.contract.answers` for what None stands for.

        Example:
            ```python
            backbone = adaptkit.load_backbone("adaptkit-mini")
            method = adaptkit.create_method("zero_shot", backbone, ["corgi", "husky"])
            for prediction in method.predict(["photo.jpg"], reject=0.8):
                print(prediction.label, prediction.probability)
            ```
        """
        return predict(self, images, Answering(topk, reject, scores, offset), batch_size)

"""OGEN: image features of unknown classes, generated from names and from similar classes, train any prompt learner.

Zang et al., "Overcoming the Pitfalls of Vision-Language Model Finetuning for OOD Generalization", arXiv:2401.15914. A
generator g (generator.py) makes features in three passes (passes.py), from statistics of the training images
(statistics.py) and from names that have no image (unknown_names.py):
    L = L_rec                                                                        in the first fifth of the epochs
    L = L_rec + 0.25 L_own + 0.25 CE(a) + 0.25/k CE(b) + 0.5/k CE(c) + w L_teacher   afterwards
with L_own the inner loss, such as the method's own, and L_teacher the gap to a teacher (teacher.py). The generator is
trained beside the method and is no part of it: tests and adapters are the method's alone.

What the paper does was read in the released code (apple/ml-ogen), which cannot run without a fork that was not
released. Its behaviour that differs from the defaults can be had by options: `noise="uniform"`, `teacher_weight=0`,
`unknown_names="dataset_new"`, `rec_factor=512`.

Departure: unknown names are, by default, a random half of the classes in every step, for images of the other ones. The
    released code reads names of the data set's new classes, which are then no longer unknown: `dataset_new`.
Departure: noise is normal, drawn for each neighbour of each image, and what it gives is brought to unit length; the
    released code draws one vector from [0, 1) in a step, which shifts every feature upwards.
Departure: the teacher's loss is ours, from what reviews say of it; the released code builds a teacher and never uses
    it. It is the squared distance of a and b, and KL over c, to those of the teacher. The student is what is tested.
Departure: gradients pass through f where the image side learns, but not through f as a target of L_rec.
Departure: statistics are of the frozen tower's features without augmentation; the released files of them are missing.
"""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.batches import Batch, Examples, LabelledBatch
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.objective import Objective
from adaptkit.contract.registry import register_objective
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.objectives.ogen.config import OGENConfig
from adaptkit.objectives.ogen.generator import Generator
from adaptkit.objectives.ogen.passes import Given, Made, agreement, make, nearest_new, reconstruction
from adaptkit.objectives.ogen.statistics import (
    class_statistics,
    draw_noise,
    features_of_known,
    nearest_classes,
)
from adaptkit.objectives.ogen.teacher import Teacher, replaced
from adaptkit.objectives.ogen.unknown_names import UnknownNames, hide_half, names_of_file

LEAST_CLASSES = 2


@register_objective("ogen", OGENConfig)
class OGEN(Objective):
    """The inner loss, and losses of features that a generator makes for classes without images.

    A training loop of one's own calls `begin_training`, `before_step` and `after_epoch`; without them there is no
    warm-up and no teacher.
    """

    asks_for_examples = True
    n_epochs: Tensor
    n_begun: Tensor
    first_step: Tensor

    def __init__(self, method: AdaptedTowers, inner: Objective | None, config: OGENConfig):
        super().__init__(method, inner)
        _check(method)
        self.config = config
        self.asks_for_new_names = config.unknown_names == "dataset_new"
        self.rests = config.warmup > 0
        width = method.backbone.embed_dim
        self.generator = Generator(width, config.heads, config.dropout).to(method.device)
        self.teacher: Teacher | None = None
        if config.teacher_weight:
            learnt = list(method.learnt_parameters().values())
            self.teacher = Teacher(learnt, self.generator, config.window_least, config.window_most, config.decay)
        for name in ("n_epochs", "n_begun", "first_step"):  # epochs that are over and begun; first step of the last one
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))
        self.step_count, self.step = 0, 0
        self.means, self.stds, self.near = torch.empty(0), torch.empty(0), torch.empty(0)
        self.unknown: UnknownNames | None = None  # None for a half of the classes
        self.resting: Tensor | None = None  # the class weights while nothing of the method learns
        self.taught: Tensor | None = None  # the method's part of this epoch's teacher, flat
        self.taught_weights: tuple[Tensor, Tensor | None] | None = None  # its W and W'

    @classmethod
    def facts(cls, config: object) -> tuple[str, ...]:
        assert isinstance(config, OGENConfig)
        if config.unknown_names == "dataset_new":
            return ("names of the tests' new classes were seen in training (unknown_names: dataset_new), no images",)
        if config.unknown_names == "file":
            return ("class names of a file were seen in training (unknown_names: file), no images",)
        return ("unknown names in training were held-out base classes (unknown_names: held_out_base)",)

    def see_examples(self, method: AdaptedTowers, examples: Examples) -> None:
        """Measure the classes' image features and read the unknown names, before the first step.

        Raises:
            ValueError: if a class has no image, or names of the tests are asked for and there are none.
        """
        super().see_examples(method, examples)
        assert isinstance(method, AdaptedCLIP)
        features, labels = examples.features.to(method.device), examples.labels.to(method.device)
        self.use_statistics(*class_statistics(features, labels, len(method.classes)))
        if self.config.unknown_names == "file":
            self.unknown = UnknownNames(method, names_of_file(self.config.names, method.classes.classnames))
        if self.config.unknown_names == "dataset_new":
            self.use_new_names(method, examples.new_names)

    def use_statistics(self, means: Tensor, stds: Tensor) -> None:
        """Take means and standard deviations (C, D) of the classes' image features as given."""
        self.means, self.stds = at_least_fp32(means), at_least_fp32(stds)
        self.near = nearest_classes(self.means, self.config.neighbours)

    def use_new_names(self, method: AdaptedCLIP, names: tuple[str, ...]) -> None:
        """Take the names of classes that are tested and not learnt, and say so."""
        if not names:
            raise ValueError(
                "unknown_names='dataset_new' reads names of classes that are tested and not learnt, and there are "
                "none; take a protocol that has some, such as base_to_novel, or held_out_base"
            )
        warnings.warn(
            f"ogen sees the names of {len(names)} classes that are tested and not learnt "
            "(unknown_names='dataset_new'), so they are no longer unknown; the record says so",
            stacklevel=2,
        )
        self.unknown = UnknownNames(method, names)

    def begin_training(self, step_count: int) -> None:
        super().begin_training(step_count)
        self.step_count, self.resting, self.taught_weights = step_count, None, None

    def before_step(self, step: int) -> None:
        super().before_step(step)
        self.step = step

    def after_epoch(self, epoch: int) -> None:
        super().after_epoch(epoch)
        self.n_epochs.fill_(epoch + 1)

    def loss(self, method: AdaptedTowers, batch: Batch) -> Tensor:
        """The loss of a step: of the generator alone in the warm-up, else of all.

        Raises:
            ValueError: if the training images' features were not measured before.
        """
        assert isinstance(method, AdaptedCLIP)
        assert isinstance(batch, LabelledBatch)
        assert self.inner is not None
        if not len(self.near):
            raise ValueError("ogen needs features of all training images before the first step; call see_examples")
        self._begin_epoch(method)
        if self.is_warming_up:
            return self._generator_loss(method, batch)
        if "class_weights" not in method.provides:
            return self._whole_loss(method, batch, method.weights_per_image(batch.x))
        with method.share_class_weights() as weights:
            return self._whole_loss(method, batch, weights)

    @property
    def is_warming_up(self) -> bool:
        """Whether the epoch began within the first steps, where the generator learns alone."""
        return int(self.first_step) < round(self.config.warmup * self.step_count, 6)

    def _begin_epoch(self, method: AdaptedCLIP) -> None:
        """In the first step of an epoch, keep what the last one ended with."""
        if int(self.n_begun) > int(self.n_epochs):
            return
        if self.teacher is not None and int(self.n_epochs):
            self.teacher.remember(list(method.learnt_parameters().values()), self.generator)
        self.n_begun.fill_(int(self.n_epochs) + 1)
        self.first_step.fill_(self.step)
        self.taught_weights = self.taught = None

    def _generator_loss(self, method: AdaptedCLIP, batch: LabelledBatch) -> Tensor:
        """L_rec, in which nothing of the method has a gradient."""
        with torch.no_grad():
            if "class_weights" not in method.provides:
                weights = at_least_fp32(method.weights_per_image(batch.x))
            else:
                if self.resting is None:
                    self.resting = at_least_fp32(method.current_class_weights())
                weights = self.resting
            features = self._image_features(method, batch)
        with torch.autocast(features.device.type, enabled=False):
            given = self._given(features, _hard(batch.labels), None)
            made = make(self.generator, weights, None, given, self._scale(method))
            return reconstruction(made, given, given.known, self.config.rec_factor)

    def _whole_loss(self, method: AdaptedCLIP, batch: LabelledBatch, weights: Tensor) -> Tensor:
        assert self.inner is not None
        config, weights, labels = self.config, at_least_fp32(weights), _hard(batch.labels)
        own = self.inner.loss(method, batch) if config.own_weight else None
        features = self._image_features(method, batch)
        places = self._draw_names(weights.shape[-2])
        new_weights = self._new_weights(method, weights, places)
        with torch.autocast(features.device.type, enabled=False):
            hidden = places.to(features.device) if self.unknown is None else None
            nearest = nearest_new(weights, new_weights, labels, config.neighbours, hidden)
            given, scale = self._given(features, labels, nearest), self._scale(method)
            made = make(self.generator, weights, new_weights, given, scale)
            # As released, the target has noise of its own, which is not that of the values in pass 1.
            loss = reconstruction(made, given, self._known(labels), config.rec_factor)
            loss = loss + config.unknown_weight * F.cross_entropy(made.unknown_logits, labels)
            loss = loss + _over_k(config.known_weight, made.known_logits, given.near)
            assert made.new_logits is not None
            loss = loss + _over_k(config.new_weight, made.new_logits, nearest)
        loss = loss if own is None else loss + config.own_weight * own
        taught = self._taught(method, batch, places, given, scale)
        return loss if taught is None else loss + config.teacher_weight * agreement(made, taught, config.rec_factor)

    def _image_features(self, method: AdaptedCLIP, batch: LabelledBatch) -> Tensor:
        return F.normalize(at_least_fp32(method.image_features_of(batch.x)), dim=-1)  # (B, D)

    @staticmethod
    def _scale(method: AdaptedCLIP) -> Tensor:
        return at_least_fp32(method.backbone.logit_scale).exp()

    def _given(self, features: Tensor, labels: Tensor, nearest: Tensor | None) -> Given:
        return Given(features, labels, self.near[labels], self._known(labels), nearest)

    def _known(self, labels: Tensor) -> Tensor:
        """Features (B, k, D) of the neighbours of labels (B,), with new noise."""
        spread = self.stds[self.near[labels]]
        return features_of_known(self.means[self.near[labels]], spread, self.noise_of(spread), self.config.noise)

    def noise_of(self, spread: Tensor) -> Tensor:
        """r for a spread (B, k, D), drawn anew."""
        return draw_noise(spread, self.config.noise)

    def _draw_names(self, n_classes: int) -> Tensor:
        """Places of this step's unknown names, among the classes or among the names."""
        if self.unknown is None:
            return hide_half(n_classes)
        n_names, most = len(self.unknown), self.config.names_per_step
        return torch.randperm(n_names)[:most] if 0 < most < n_names else torch.arange(n_names)

    def _new_weights(self, method: AdaptedCLIP, weights: Tensor, places: Tensor) -> Tensor:
        """W' (C', D), or (B, C', D) where half of the classes (B, C, D) of each image are unknown."""
        if self.unknown is None:
            return weights[..., places.to(weights.device), :]
        return self.unknown.weights(method, None if len(places) == len(self.unknown) else places)

    def _taught(
        self, method: AdaptedCLIP, batch: LabelledBatch, places: Tensor, given: Given, scale: Tensor
    ) -> Made | None:
        """What the teacher makes of the same; None where there is no teacher yet."""
        if self.teacher is None:
            return None
        if self.taught is None:
            progress = int(self.first_step) / self.step_count if self.step_count else 1.0
            self.taught = self.teacher.average(progress)
            if self.taught is None:
                return None
        with torch.no_grad(), torch.autocast(scale.device.type, enabled=False):
            weights, new_weights = self._taught_weights(method, batch, self.taught)
            chosen = weights if new_weights is None else new_weights
            return make(self.teacher.generator, weights, chosen[..., places.to(chosen.device), :], given, scale)

    def _taught_weights(self, method: AdaptedCLIP, batch: LabelledBatch, flat: Tensor) -> tuple[Tensor, Tensor | None]:
        """The teacher's W and W', which hold for an epoch unless the prompts depend on the image."""
        if self.taught_weights is not None:
            return self.taught_weights
        shared = "class_weights" in method.provides
        with replaced(list(method.learnt_parameters().values()), flat):
            weights = at_least_fp32(method.class_weights() if shared else method.weights_per_image(batch.x))
            new_weights = None if self.unknown is None else self.unknown.weights(method)
        if shared:
            self.taught_weights = weights, new_weights
        return weights, new_weights


def _check(method: AdaptedTowers) -> None:
    """Refuse a method that has no class weights to train, or no classes to hide.

    Raises:
        ValueError: says why, and which methods can be trained.
    """
    name = type(method).__name__
    if not method.provides & {"class_weights", "weights_per_image"}:
        raise ValueError(
            f"ogen classifies generated features by class weights, and {name} has none; take a prompt learner such as "
            "coop, kgcoop, cocoop or maple, or clip_adapter, taskres or clip_lora"
        )
    if not method.learnt_parameters():
        raise ValueError(f"{name} learns nothing that ogen could train; take a method such as coop")
    if len(method.classes) < LEAST_CLASSES:
        raise ValueError(f"ogen makes features of a class from others, and there is {len(method.classes)}; give two")


def _hard(labels: Tensor) -> Tensor:
    """Labels (B,) int64; of smoothed ones (B, C) the likeliest."""
    return labels if labels.ndim == 1 else labels.argmax(dim=-1)


def _over_k(weight: float, logits: Tensor, labels: Tensor) -> Tensor:
    """weight / k times the cross-entropy of logits (B * k, C) with labels (B, k), which is a mean already."""
    return weight / labels.shape[1] * F.cross_entropy(logits, labels.flatten())

"""Distil a student from a frozen CLIP, and test it on classes that it never saw."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, ClassSet, FrozenCLIP, class_weights
from adaptkit.backbone.preprocess import preprocess_of
from adaptkit.backbone.student import as_student
from adaptkit.backbone.student_tower import StudentPlan, StudentTower
from adaptkit.layers.image_texts import fit_texts
from adaptkit.weights.ood_distill import DistillationLossConfig, zero_shot_logits
from adaptkit.weights.ood_distill.trainee import StudentInTraining
from datasets_fewshot import FeatureStore, FewShotDataset, Item
from trainers.compute.seeds import derived_seed, seeded
from trainers.evaluation.students import Consistency, consistency, mean_per_class_accuracy
from trainers.feeding.batches import evaluation_batches
from trainers.fit.distillation.recipe import Recipe
from trainers.fit.distillation.views import SquashedDataset, StudentBatches, squashed, teacher_features
from trainers.training.few_shot import train

EVAL_BATCH = 256


@dataclass(frozen=True)
class Distillation:
    """How a student is distilled."""

    recipe: Recipe
    loss: DistillationLossConfig = field(default_factory=DistillationLossConfig)
    paired_views: bool = False  # let the teacher see each random view of the student's, which is slower
    seed: int = 1
    workers: int = 0
    pretrained: bool = False  # start from timm's published weights


@dataclass(frozen=True)
class Distilled:
    """A student and its training."""

    student: FrozenCLIP
    losses: tuple[float, ...]  # mean loss of each epoch


@dataclass(frozen=True)
class StudentScore:
    """A student on some classes, beside its teacher; accuracies in percent, mean over classes."""

    images: int
    classes: int
    student: float
    teacher: float
    spaces: Consistency


def distill(
    dataset: FewShotDataset,
    classes: ClassSet,
    teacher: FrozenCLIP,
    plan: StudentPlan,
    settings: Distillation,
    *,
    adapted: AdaptedCLIP | None = None,
    captions: Mapping[str, Sequence[str]] | None = None,
    start: FrozenCLIP | None = None,
    store: FeatureStore | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> Distilled:
    """Train a student on the training images of a data set.

    Args:
        classes: of the data set in label order, with what is said of them in words.
        adapted: the teacher with an adapter of these classes, whose image features and class weights are imitated.
        captions: auxiliary captions by image path, for L_cap; the first of each counts.
        start: a student of this plan to go on from, such as for shots of new classes.
        store: keeps the teacher's features on disk; those of an adapted teacher are not kept.
        on_epoch: called with the number of finished passes over the images.

    Raises:
        ValueError: if there are no training images, an image lacks its caption, the adapter learnt words that the
            student cannot take over, or `start` is of another plan.
        DivergedError: if the loss is not finite.
    """
    items = dataset.split.train
    if not items:
        raise ValueError(f"{dataset.name} has no training images to distil from")
    images = squashed(dataset, plan, teacher)
    with seeded(derived_seed("student", settings.seed), teacher.device):
        tower = StudentTower(plan, settings.pretrained).to(teacher.device)
        if start is not None:
            _start_from(tower, start)
        trainee = StudentInTraining(
            teacher,
            classes,
            tower,
            settings.loss,
            None if settings.paired_views else _targets(images, items, teacher, adapted, store, settings.workers),
            None if captions is None else _caption_features(items, captions, teacher),
            None if adapted is None else _adapted_texts(adapted, classes),
        ).to(teacher.device)
        batches = StudentBatches(
            images,
            items,
            preprocess_of(tower)[0],
            settings.recipe.rand_augment,
            settings.recipe.optim.batch_size,
            settings.seed,
            with_places=not settings.paired_views or captions is not None,
            workers=settings.workers,
        )
        log = train(trainee, batches, settings.recipe.optim, on_epoch=on_epoch)
    return Distilled(as_student(teacher, tower), log.losses)


def score_student(
    dataset: FewShotDataset,
    items: Sequence[Item],
    student: FrozenCLIP,
    teacher: FrozenCLIP,
    classes: ClassSet,
    adapted: AdaptedCLIP | None = None,
    workers: int = 0,
) -> StudentScore:
    """Zero-shot accuracy of a student and its teacher on images of any classes, and how near their spaces are.

    Args:
        classes: of the data set in label order.
    """
    texts = class_weights(teacher, classes) if adapted is None else _adapted_texts(adapted, classes)
    tower = student.model.visual
    assert isinstance(tower, StudentTower)
    images = squashed(dataset, tower.plan, teacher)
    labels = torch.tensor([item.label for item in items], device=texts.device)
    ours = student_features(dataset, items, student, workers)
    theirs = _targets(images, items, teacher, adapted, None, workers)
    return StudentScore(
        len(items),
        len(labels.unique()),
        mean_per_class_accuracy(zero_shot_logits(ours, texts), labels),
        mean_per_class_accuracy(zero_shot_logits(theirs, texts), labels),
        consistency(ours, theirs, texts),
    )


@torch.no_grad()
def student_features(dataset: FewShotDataset, items: Sequence[Item], student: FrozenCLIP, workers: int = 0) -> Tensor:
    """What a student has of images as they are: (N, D), not normalised."""
    parts = evaluation_batches(dataset, items, student.preprocess_cfg, EVAL_BATCH, workers)
    return torch.cat([student.encode_image(pixels.to(student.device)) for pixels, _ in parts])


@torch.no_grad()
def _targets(
    images: SquashedDataset,
    items: Sequence[Item],
    teacher: FrozenCLIP,
    adapted: AdaptedCLIP | None,
    store: FeatureStore | None,
    workers: int,
) -> Tensor:
    """The teacher's features (N, D) of images as they are, through its adapter where there is one."""
    if adapted is None:
        return teacher_features(images, items, teacher, store, workers)
    parts = evaluation_batches(images, items, teacher.preprocess_cfg, EVAL_BATCH, workers)
    return torch.cat([adapted.encode_image(pixels.to(teacher.device)) for pixels, _ in parts])


@torch.no_grad()
def _adapted_texts(adapted: AdaptedCLIP, classes: ClassSet) -> Tensor:
    """The class weights (C, D) of an adapted teacher, for these names and in its own words."""
    if "class_weights" not in adapted.provides:
        raise ValueError(
            f"{type(adapted).__name__} has no class weights that hold for every image, so a student cannot imitate it; "
            "take an adapter that has, such as coop or clip_lora"
        )
    if adapted.classes.classnames != classes.classnames:
        if adapted.bound_to_classes is not None:
            raise ValueError(f"the teacher's adapter cannot take these classes: {adapted.bound_to_classes}")
        adapted.set_classes(classes.classnames)
    return adapted.class_weights()


@torch.no_grad()
def _caption_features(items: Sequence[Item], captions: Mapping[str, Sequence[str]], teacher: FrozenCLIP) -> Tensor:
    """Texts (N, D) of the images' first captions."""
    missing = [item.path for item in items if item.path not in captions]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(items)} training images have no caption, such as {missing[0]!r}; add theirs, or "
            "leave the captions out"
        )
    texts = fit_texts([captions[item.path][0] for item in items], teacher.tokenizer)
    return torch.cat([teacher.encode_text(texts[at : at + EVAL_BATCH]) for at in range(0, len(texts), EVAL_BATCH)])


def _start_from(tower: StudentTower, start: FrozenCLIP) -> None:
    given = start.model.visual
    if not isinstance(given, StudentTower) or given.plan != tower.plan:
        raise ValueError(
            f"{start.name} is no student of the plan {tower.plan}; go on with the plan that it was made by"
        )
    tower.load_state_dict(given.state_dict())

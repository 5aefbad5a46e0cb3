"""Distil a student from a frozen CLIP, and test it on classes that it never saw."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, ClassSet, FrozenCLIP, class_weights
from adaptkit.artefacts.atomic_file import Json
from adaptkit.backbone.preprocess import preprocess_of
from adaptkit.backbone.student import as_student
from adaptkit.backbone.student_tower import StudentPlan, StudentTower
from adaptkit.backbone.weights_source import hash_of_weights
from adaptkit.layers.image_texts import fit_texts
from adaptkit.weights.ood_distill import DistillationLossConfig, zero_shot_logits
from adaptkit.weights.ood_distill.trainee import StudentInTraining
from datasets_fewshot import FeatureStore, FewShotDataset, Item, files_hash
from trainers.compute.seeds import derived_seed, seeded
from trainers.config.settings import CheckpointConfig
from trainers.evaluation.students import Consistency, consistency, mean_per_class_accuracy
from trainers.feeding.batches import evaluation_batches
from trainers.fit.distillation.recipe import Recipe
from trainers.fit.distillation.views import SquashedDataset, StudentBatches, squashed, teacher_features
from trainers.runs.records import run_id
from trainers.training.checkpoints import Checkpoints
from trainers.training.few_shot import train

EVAL_BATCH = 256
EVERY_MINUTE = CheckpointConfig()


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
    work: Path | None = None,
    checkpoint: CheckpointConfig = EVERY_MINUTE,
    on_epoch: Callable[[int], None] | None = None,
) -> Distilled:
    """Train a student on the training images of a data set.

    Args:
        classes: of the data set in label order, with what is said of them in words.
        adapted: the teacher with an adapter of these classes, whose image features and class weights are imitated.
        captions: auxiliary captions by image path, for L_cap; the first of each counts.
        start: a student of this plan to go on from, such as for shots of new classes.
        store: keeps the teacher's features on disk; those of an adapted teacher are not kept.
        work: a folder for checkpoints; the same call goes on from where an earlier one was stopped.
        checkpoint: how often.
        on_epoch: called with the number of finished passes over the images.

    Raises:
        ValueError: if there are no training images or fewer than two classes, captions are given without a weight or
            missing, the adapter has no class weights for every image, or `start` is of another plan.
        DivergedError: if the loss is not finite.
    """
    items = dataset.split.train
    _check(dataset, classes, settings.loss, captions)
    if adapted is not None and settings.paired_views:
        raise ValueError("paired_views shows the frozen teacher each view, and not its adapter; leave one of them out")
    images = squashed(dataset, plan, teacher)
    with seeded(derived_seed("student", settings.seed), teacher.device):
        tower = StudentTower(plan, settings.pretrained).to(teacher.device)
        if start is not None:
            _start_from(tower, start)
        texts = None if adapted is None else _adapted_texts(adapted, classes)
        said = None if captions is None else _caption_features(items, captions, teacher)
        seen = None if settings.paired_views else _targets(images, items, teacher, adapted, store, settings.workers)
        trainee = StudentInTraining(teacher, classes, tower, settings.loss, seen, said, texts).to(teacher.device)
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
        kept = None
        if work is not None:
            facts: dict[str, Json] = {
                "student": hash_of_weights(tower),
                "teacher": teacher.weights_hash,
                "settings": json.loads(json.dumps(asdict(settings))),
                "images": files_hash(dataset.image_root, items, dataset.moved),
                "imitated": _digest(trainee.text_features, seen, said),
            }
            kept = Checkpoints(work, run_id(facts), checkpoint)
        log = train(trainee, batches, settings.recipe.optim, on_epoch=on_epoch, checkpoints=kept)
    return Distilled(as_student(teacher, tower), log.losses)


def _digest(*tensors: Tensor | None) -> str:
    """SHA-256 in hex over the bytes of what is imitated."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(b"" if tensor is None else tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _check(
    dataset: FewShotDataset,
    classes: ClassSet,
    loss: DistillationLossConfig,
    captions: Mapping[str, Sequence[str]] | None,
) -> None:
    """Refuse what cannot be distilled from, before anything is computed."""
    if not dataset.split.train:
        raise ValueError(f"{dataset.name} has no training images to distil from")
    if len(classes) < 2:
        raise ValueError(f"{dataset.name} has {len(classes)} class; a student learns from two or more")
    if loss.cap and captions is None:
        raise ValueError(f"cap={loss.cap} and there are no captions; give those of the images, or cap=0")
    if captions is not None and not loss.cap:
        raise ValueError("captions are given and the weight cap is 0, so nothing reads them; set it, or leave them out")


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

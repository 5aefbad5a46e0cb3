"""Students: a small image tower of timm beside the text tower of its teacher, as a backbone.

A student is a folder with `student.json` and `student.safetensors`, which `adaptkit.artefacts.students` writes. It
holds the image tower alone; the text tower, the tokenizer and the scale are the teacher's, which the file names with
the hash of its weights. So the file has a backbone loaded, under the rules of `named_in_file`.
"""

import copy
import hashlib
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from adaptkit.backbone.foreign_model import FOLDER_PREFIX, STUDENT_FILE
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.image_size import ImageSize, set_image_size
from adaptkit.backbone.named_in_file import UntrustedBackboneError, load_named_in_file
from adaptkit.backbone.student_tower import StudentPlan, StudentTower
from adaptkit.backbone.weights_source import WeightsSource, check_weights
from adaptkit.options import from_plain
from adaptkit.regular_file import FileError, read_bytes, read_json, said, user_path

TENSORS_FILE = "student.safetensors"
FORMAT, FORMAT_VERSION = "adaptkit-student", 1
MAX_JSON_BYTES, MAX_TENSORS_BYTES = 2**24, 2**33


@dataclass(frozen=True)
class StudentFacts:
    """The content of `student.json`."""

    format: str
    format_version: int
    plan: StudentPlan
    teacher: WeightsSource
    teacher_sha256: str  # `FrozenCLIP.weights_hash` of the teacher, in float32
    classnames: tuple[str, ...]  # of the training, so that others are known to be out of distribution
    notes: tuple[str, ...]  # on the training, in words
    tensors_sha256: str  # of the tensors' file


def as_student(teacher: FrozenCLIP, visual: nn.Module, name: str = "") -> FrozenCLIP:
    """A backbone with another image tower beside the teacher's own text tower; it freezes the image tower.

    The text tower's modules are the teacher's: moving one of both to another device or type moves the other's texts.

    Args:
        visual: images (B, 3, H, W) -> features (B, D), with `image_size` and `preprocess_cfg` as open_clip's towers.
        name: in records and artefacts.

    Raises:
        ValueError: if its features are not as wide as the teacher's texts, or a weight is not finite.

    Example:
        ```python
        from adaptkit.weights.ood_distill import StudentTower, as_student, plan_for

        teacher = adaptkit.load_backbone("adaptkit-mini")
        tower = StudentTower(plan_for(teacher, "test_resnet"))
        student = as_student(teacher, tower)
        method = adaptkit.create_method("zero_shot", student, ["corgi", "husky"])
        assert method(torch.rand(4, 3, 48, 48)).shape == (4, 2)
        ```
    """
    check_weights(visual, "the student")
    model = copy.copy(teacher.model)  # The text tower's modules are shared.
    model._modules = dict(teacher.model._modules)
    model.visual = visual
    plan = getattr(visual, "plan", None)
    of = plan.timm_name if plan is not None else type(visual).__name__
    student = FrozenCLIP(model, teacher.tokenizer.plain, name or f"{of} of {teacher.name}").to(teacher.device)
    if student.embed_dim != teacher.embed_dim:
        raise ValueError(
            f"the student's features have {student.embed_dim} numbers and the texts of {teacher.name} "
            f"{teacher.embed_dim}; a student lives in its teacher's space: let it end in a linear layer to that width"
        )
    return student


def load_student(
    folder: str | Path,
    teacher: FrozenCLIP | None = None,
    *,
    checkpoint: str | Path | None = None,
    device: str | torch.device = "cpu",
    image_size: ImageSize | None = None,
) -> FrozenCLIP:
    """A student that `save_student` wrote, with the text tower of its teacher.

    Args:
        teacher: the backbone that it was distilled from; None loads it by its name.
        checkpoint: your copy of the teacher's weights, for one that was loaded from a file.
        device: where the teacher is loaded to; a teacher that is given stays where it is.
        image_size: side of the images in pixels, or height and width, if not the student's own.

    Raises:
        FileNotFoundError: if a file of it is missing.
        FileError: if one is damaged, altered or of a later version.
        UntrustedBackboneError: if the file names a teacher that is not loaded on a file's word.
        ValueError: if the teacher has other weights than it had.
    """
    place = user_path(folder, "student")
    facts = read_student(place)
    if teacher is None:
        teacher = _load_teacher(facts, place, checkpoint, device)
    if teacher.weights_hash != facts.teacher_sha256:
        raise ValueError(
            f"the student {said(place)} was distilled from {facts.teacher} with weights {facts.teacher_sha256[:12]}, "
            f"and those of {teacher.name} are {teacher.weights_hash[:12]}; load it with its own teacher, in float32"
        )
    tower = StudentTower(facts.plan)
    _fill(tower, _read_tensors(place, facts), place)
    resized = None
    if image_size is not None:
        resized = _resized(tower, image_size)
    student = as_student(teacher, tower)
    student.source = WeightsSource(f"{FOLDER_PREFIX}{place}", image_size=resized)
    return student


def read_student(folder: Path) -> StudentFacts:
    """The `student.json` of a folder.

    Raises:
        FileNotFoundError: if there is none.
        FileError: if it is damaged, or of a later version.
    """
    path = folder / STUDENT_FILE
    content = read_json(path, "description of a student", MAX_JSON_BYTES)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileError(f"{said(path)} describes no student; `adaptkit distill` makes one")
    if content.get("format_version") != FORMAT_VERSION:
        raise FileError(
            f"{said(path)} has version {content.get('format_version')!r}, and this adaptkit reads {FORMAT_VERSION}; "
            "upgrade adaptkit"
        )
    try:
        facts = from_plain(content, StudentFacts)
        if not isinstance(facts, StudentFacts):
            raise ValueError("entries are missing, or of another kind")
    except (TypeError, ValueError) as error:  # TypeError: an entry without a default is missing
        raise FileError(f"{said(path)} is damaged ({error}); save the student again or get another copy") from None
    return facts


def _load_teacher(
    facts: StudentFacts, place: Path, checkpoint: str | Path | None, device: str | torch.device
) -> FrozenCLIP:
    if checkpoint is None and facts.teacher.checkpoint is not None:
        raise ValueError(
            f"the student {said(place)} was distilled from {facts.teacher}; give your copy of that file as checkpoint"
        )
    try:
        return load_named_in_file(facts.teacher, f"the student {said(place)}", checkpoint, device)
    except UntrustedBackboneError as error:
        raise UntrustedBackboneError(
            f"{error}; or load its teacher and give it: adaptkit.weights.ood_distill.load_student(folder, teacher)"
        ) from None


def _read_tensors(place: Path, facts: StudentFacts) -> dict[str, Tensor]:
    path = place / TENSORS_FILE
    content = read_bytes(path, "tensors of a student", MAX_TENSORS_BYTES)
    if hashlib.sha256(content).hexdigest() != facts.tensors_sha256:
        raise FileError(f"{said(path)} was altered or damaged since it was saved; get both files of the student again")
    try:
        return safetensors.torch.load(content)
    except SafetensorError as error:
        raise FileError(f"{said(path)} is no readable safetensors file: {error}") from None


def _fill(tower: StudentTower, tensors: dict[str, Tensor], place: Path) -> None:
    own = tower.state_dict()
    wrong = sorted(own.keys() ^ tensors.keys())
    wrong += [name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape]
    if wrong:
        raise FileError(
            f"{said(place)}: {len(wrong)} tensors are missing, unknown or of another shape for timm's "
            f"{tower.plan.timm_name}, such as {wrong[0]}; another version of timm may have made it"
        )
    tower.load_state_dict(tensors)


def _resized(tower: StudentTower, image_size: ImageSize) -> tuple[int, int] | None:
    holder = nn.Module()
    holder.visual = tower
    return set_image_size(holder, image_size)

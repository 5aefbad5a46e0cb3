"""Save a distilled student: its image tower as safetensors, and what it was made from and by as JSON.

    my_student/
        student.json          timm's name, sizes, preprocessing, the teacher with the hash of its weights, the training
        student.safetensors   the image tower

The text tower is the teacher's and is not saved. `adaptkit.load_backbone` reads the folder.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import safetensors.torch
import torch

from adaptkit.artefacts.atomic_file import replacing
from adaptkit.backbone.foreign_model import STUDENT_FILE
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.student import FORMAT, FORMAT_VERSION, TENSORS_FILE, StudentFacts
from adaptkit.backbone.student_tower import StudentTower
from adaptkit.backbone.weights_source import WeightsSource, check_weights
from adaptkit.regular_file import user_path


def save_student(
    student: FrozenCLIP,
    teacher: FrozenCLIP,
    folder: str | Path,
    classnames: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Path:
    """Write a student into a folder, over the files of an earlier call; the description is written last.

    Args:
        student: of `as_student`, with a `StudentTower`.
        classnames: of the training classes; all others are out of distribution.
        notes: on the training, in words.

    Raises:
        ValueError: if the image tower is no `StudentTower`, the teacher is not float32, or a weight is not finite.
        FileExistsError: if `folder` is a file.

    Example:
        ```python
        from adaptkit.weights.ood_distill import StudentTower, as_student, plan_for, save_student

        teacher = adaptkit.load_backbone("adaptkit-mini")
        tower = StudentTower(plan_for(teacher, "test_resnet"))
        save_student(as_student(teacher, tower), teacher, "my_student")
        student = adaptkit.load_backbone("my_student")
        ```
    """
    tower = student.model.visual
    if not isinstance(tower, StudentTower):
        raise ValueError(
            f"the image tower is a {type(tower).__name__}, and a student's file holds a StudentTower, which is made "
            "again from its plan; make one with adaptkit.weights.ood_distill"
        )
    if teacher.dtype != torch.float32:
        raise ValueError(f"the teacher is {teacher.dtype}; load it in float32, for the hash that the file keeps")
    check_weights(tower, "the student")
    place = user_path(folder, "student")
    if place.exists() and not place.is_dir():
        raise FileExistsError(f"{place} is a file; give a folder")
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tower.state_dict().items()}
    content = safetensors.torch.save(tensors, metadata={"format": "pt"})
    facts = StudentFacts(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        plan=tower.plan,
        teacher=teacher.source or WeightsSource(teacher.name),
        teacher_sha256=teacher.weights_hash,
        classnames=tuple(classnames),
        notes=tuple(notes),
        tensors_sha256=hashlib.sha256(content).hexdigest(),
    )
    described = json.dumps(dataclasses.asdict(facts), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    files = {TENSORS_FILE: content, STUDENT_FILE: described.encode()}
    with ExitStack() as stack:  # Both are on disk before the first takes its name; the description takes its own last.
        places = {name: stack.enter_context(replacing(place / name)) for name in reversed(files)}
        for name, temporary in places.items():
            temporary.write_bytes(files[name])
    return place

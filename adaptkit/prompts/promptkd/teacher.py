"""Teachers: whose logits of an image a student imitates, and whose class features it keeps as its classifier.

A teacher is no module: whoever holds it neither trains nor saves its towers, nor puts it into training mode.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.artefacts.config import ArtefactConfig
from adaptkit.artefacts.files import ArtefactFiles, read_files
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.images import as_preprocessed
from adaptkit.backbone.preprocess import PreprocessConfig
from adaptkit.classes.class_prompts import ClassPrompts
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.head import Head
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.saved import load_files


class OwnTeacher:
    """The student's own backbone as it was loaded, with hand-written prompts: zero-shot CLIP."""

    bound_to_classes: str | None = None

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet):
        self.backbone = backbone.as_loaded()
        self.prompts = ClassPrompts(self.backbone, classes)

    @property
    def width(self) -> int:
        """Width D_t of its features."""
        return self.backbone.embed_dim

    def set_classes(self, classes: ClassSet) -> None:
        """Encode other class names."""
        self.prompts.set_classes(self.backbone, classes)

    def class_features(self) -> Tensor:
        """Class features (C, D_t), unit rows."""
        return self.prompts()

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), as the student takes them -> logits (B, C)."""
        return self.backbone.logits(self.backbone.encode_image(images), self.class_features())

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """N texts -> text features (N, D_t), not normalised."""
        return self.backbone.encode_text(texts)


class SavedTeacher:
    """An adapted CLIP from its files; the files travel with the student, and its backbone is loaded when needed.

    It is needed to learn from and for other class names. On the student's own weights it shares them.

    Args:
        files: of its adapter.
        student: the student's backbone.
        features: class features (C, D_t) that are known already, so that nothing has to be loaded.

    Raises:
        ArtefactError: if the files are damaged.
        ValueError: if they are a head's.
    """

    def __init__(self, files: ArtefactFiles, student: FrozenCLIP, features: Tensor | None = None):
        self.files, self.config = files, ArtefactConfig.from_json(files.config, files.place)
        self.student, self.features = student, features
        self._loaded: AdaptedCLIP | None = None

    @property
    def bound_to_classes(self) -> str | None:
        """Why it tells no other classes apart; None where it does."""
        if not self.config.bound_to_classes:
            return None
        return f"its teacher, {self.config.method.name}, is bound to the {len(self.config.classnames)} classes it has"

    @property
    def width(self) -> int:
        """Width D_t of its features."""
        return self.method.class_weights().shape[-1] if self.features is None else self.features.shape[-1]

    @property
    def method(self) -> AdaptedCLIP:
        """The teacher itself, in eval mode, on the device of the student."""
        if self._loaded is None:
            self._take(self._load())
        assert self._loaded is not None
        own, student = self._loaded, self.student
        if own.backbone.model is student.model:
            own.to(student.device, student.dtype)  # What it has learnt follows the weights that both share.
        elif own.device != student.device:
            own.to(student.device)
        return own

    def _load(self) -> AdaptedCLIP:
        expected, own = self.config.backbone, self.student.source
        is_same_size = own is None or own.image_size == expected.source.image_size
        try:
            if expected.weights_sha256 == self.student.weights_hash and is_same_size:
                loaded = load_files(self.files, self.student.as_loaded())
            else:
                loaded = load_files(self.files, device=self.student.device)
        except (ValueError, OSError) as error:
            raise ValueError(
                f"the teacher of promptkd cannot be loaded: {error}. Load it yourself, with its backbone or its "
                "checkpoint, and hand it over: method.take_teacher(teacher)"
            ) from error
        if isinstance(loaded, Head):
            raise ValueError(
                f"the teacher {self.files.place} is the head {self.config.method.name!r}, which tells no "
                "classes apart; give an adapter of a method"
            )
        return loaded

    def _take(self, method: AdaptedCLIP) -> None:
        if "class_weights" not in method.provides:
            raise ValueError(
                f"the teacher of promptkd is {self.config.method.name}, whose prompts or head depend on the image; its "
                "student needs class features that hold for every image: take promptsrc, maple, clip_lora or another "
                "method with class_weights"
            )
        for parameter in method.learnt_parameters().values():
            parameter.requires_grad_(False)
        self._loaded = method.eval()

    @classmethod
    def of_method(cls, method: AdaptedCLIP, student: FrozenCLIP) -> "SavedTeacher":
        """A teacher that is loaded already, with the files that it would be saved as."""
        with TemporaryDirectory() as folder:
            files = read_files(method.save_pretrained(Path(folder)))
        teacher = cls(ArtefactFiles(f"the teacher {type(method).__name__}", files.config, files.tensors), student)
        teacher._take(method)
        return teacher

    @torch.no_grad()
    def set_classes(self, classes: ClassSet) -> None:
        """Take its features of other class names, which keep its own templates.

        Raises:
            ValueError: if it cannot be loaded, or does not tell these classes apart.
        """
        method = self.method
        is_bound = method.bound_to_classes is not None  # and then its weights are what they are, whatever prompts say
        has_texts = classes.sentences is not None or (classes.spoken is not None and not is_bound)
        if method.classes.classnames != classes.classnames or has_texts:
            if method.bound_to_classes is not None:
                raise ValueError(
                    f"the teacher of promptkd has {len(method.classes)} classes and the student {len(classes)} others: "
                    f"{method.bound_to_classes}"
                )
            method.set_classes(classes if has_texts else classes.classnames)
        self.features = F.normalize(method.class_weights().detach(), dim=-1)

    def class_features(self) -> Tensor:
        """Class features (C, D_t), unit rows."""
        assert self.features is not None
        if self.features.device != self.student.device:
            self.features = self.features.to(self.student.device)
        return self.features

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), as the student takes them -> logits (B, C)."""
        method = self.method
        features = method.encode_image(seen_by(method.backbone, images, self.student))  # (B, D_t)
        return method.backbone.logits(features, self.class_features().to(features))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """N texts -> text features (N, D_t), not normalised.

        Raises:
            TypeError: if what the teacher has learnt on the text side belongs to classes.
        """
        return self.method.encode_text(texts)


def seen_by(teacher: FrozenCLIP, images: Tensor, student: FrozenCLIP) -> Tensor:
    """Images (B, 3, H, W), as the student takes them, as the teacher takes them.

    Where they differ in size, mean or deviation, preprocessed images are scaled from the student's size, so a teacher
    of more pixels sees no more than its student.
    """
    own, theirs = student.preprocess_cfg, teacher.preprocess_cfg
    if images.dtype == torch.uint8 or _look(own) == _look(theirs):
        return images
    images = as_preprocessed(images, student)
    pixels = images * _channels(own.std, images) + _channels(own.mean, images)
    if own.image_size != theirs.image_size:
        pixels = F.interpolate(pixels, theirs.image_size, mode="bicubic", antialias=True).clamp(0, 1)
    return (pixels - _channels(theirs.mean, images)) / _channels(theirs.std, images)


def _look(config: PreprocessConfig) -> tuple[object, ...]:
    return config.image_size, config.mean, config.std


def _channels(values: Sequence[float], images: Tensor) -> Tensor:
    return torch.tensor(values, dtype=images.dtype, device=images.device)[:, None, None]

"""Calibrate a method on labelled images that it has not learnt from."""

from collections.abc import Sequence

import torch
from torch import Tensor

from adaptkit.artefacts.saving import learnt_sha256
from adaptkit.calibration.calibration import Calibration, fit_calibration
from adaptkit.calibration.unknown import LEAST_CLASSES
from adaptkit.contract.images import Images, batches
from adaptkit.contract.method import AdaptedCLIP


def calibrate(
    method: AdaptedCLIP,
    images: Images,
    labels: Sequence[int],
    *,
    source: str = "images of its user",
    most_false_rejections: float | None = None,
    batch_size: int = 64,
) -> Calibration:
    """Calibrate a method on labelled images, which it must not have learnt from, and return what was fitted.

    From then on `predict` gives calibrated probabilities, promises sets of any `coverage`, and takes `reject="auto"`
    where a class can be left out; `save_pretrained` keeps it. Learning further makes it void.

    Args:
        images: of any kinds, as `predict` takes them.
        labels: places of their classes among the method's, one each.
        source: where the images came from, in words, for those who read the adapter.
        most_false_rejections: choose the threshold for unknown classes as the largest that rejects no more than this
            share of images of known classes; None for Youden's J.

    Raises:
        ValueError: if there are less than two classes or five images, not as many labels, or one is no class; or if the
            method answers with several labels per image.

    Example:
        ```python
        backbone = adaptkit.load_backbone("adaptkit-mini")
        method = adaptkit.create_method("zero_shot", backbone, ["corgi", "husky", "violin"])
        adaptkit.calibrate(method, torch.randint(256, (30, 3, 48, 48), dtype=torch.uint8), [0, 1, 2] * 10)
        (prediction,) = method.predict("photo.jpg", coverage=0.9)
        print(prediction.members, prediction.probability)
        ```
    """
    was_training = method.training
    method.eval()
    try:
        with torch.no_grad(), method.encode_classes_once():
            given = (method.consume(part.to(method.device)) for part in batches(method, images, batch_size))
            rows = [logits.float().cpu() for logits in method.logits_in_order(given)]
    finally:
        method.train(was_training)
    logits = torch.cat(rows) if rows else torch.zeros(0, len(method.classes))
    return calibrate_on_logits(method, logits, torch.tensor(labels), source, (), most_false_rejections)


def calibrate_on_logits(
    method: AdaptedCLIP,
    logits: Tensor,
    labels: Tensor,
    source: str,
    marks: Sequence[str] = (),
    most_false_rejections: float | None = None,
) -> Calibration:
    """Calibrate a method on logits (N, C) of its own, or of others like it; see `calibrate` and `fit_calibration`.

    Raises:
        ValueError: as `fit_calibration` does, or if a threshold is asked for and no class can be left out, or the
            method answers with several labels.
    """
    check_one_answer(method)
    why_not = why_no_class_can_be_left_out(method)
    if most_false_rejections is not None and why_not is not None:
        raise ValueError(
            f"no threshold for unknown classes can be chosen: {why_not}; leave the share of false rejections out"
        )
    found = fit_calibration(
        logits,
        labels,
        method.classes,
        source,
        marks,
        leave_classes_out=why_not is None,
        most_false_rejections=most_false_rejections,
    )
    method.calibration = found.for_learnt(learnt_sha256(method))
    return method.calibration


def check_one_answer(method: AdaptedCLIP) -> None:
    """Check that a method answers an image with one class, which is what a calibration is about.

    Raises:
        ValueError: if it answers with several labels.
    """
    if method.label_thresholds is not None:
        raise ValueError(
            "this method answers with several labels per image, each with a score of its own; a calibration is for "
            "methods that answer with one class"
        )


def why_no_class_can_be_left_out(method: AdaptedCLIP) -> str | None:
    """Why the logits without the columns of some classes are not what the method would say without them."""
    if method.bound_to_classes is not None:
        return method.bound_to_classes
    if method.mixes_classes:
        return f"the logits of {type(method).__name__} for a class depend on which other classes there are"
    if len(method.classes) < LEAST_CLASSES:
        return f"{len(method.classes)} classes are too few to leave one out and choose among the rest"
    return None

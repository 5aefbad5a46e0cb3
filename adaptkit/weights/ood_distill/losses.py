"""Losses that tie a small image encoder to the image tower of a frozen CLIP and to its texts.

Li et al., "Distilling Large Vision-Language Model with Out-of-Distribution Generalizability", arXiv:2307.03135, in the
form of the released code (xuanlinli17/large_vlm_distillation_ood 8715681). With unit rows S, F, W, K of the student's
features h, the teacher's features f, the class texts and the images' captions:
    L_cls      CE(S W^T / tau, y)
    L_mse      mean_b |S_b - F_b|^2,    or without unit length  log(1 + mean_b |h_b - f_b|^2 / 10)
    L_im-cst   1/2 [CE(S F^T / tau, 1) + CE(F S^T / tau, 1)]
    L_vlalign  mean_b KL(softmax(t_J) || softmax(u_J)),  t = F_b W^T / tau,  u = S_b W^T / tau,  J the k largest of t
    L_cap      CE(S K^T / tau, 1),    where captions of other images of the same class are left out
    L = sum of the terms with their weights, all 1 in the paper

Departure: each term has its own weight; in the released code L_vlalign and L_cap exist only beside L_cls.
Departure: where the filter leaves no image of a batch, L_vlalign is 0; the released code has NaN.
Departure: L_cap is divided by tau like the other terms, unless `cap_scale` asks for the released form.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.options import option, options

Direction = Literal["bidirectional", "single"]
RAW_SCALE = 10.0  # divides the squared distance of features of any length
SAME_CLASS = -1e7  # what a caption of another image of the class gets as its logit


@options
class DistillationLossConfig:
    """Weights and settings of the terms; a term of weight 0 is not computed."""

    cls: float = option(1.0, "Weight of L_cls, labels against class texts; 0 is the released text-only mode.", least=0)
    mse: float = option(1.0, "Weight of L_mse, the distance of student and teacher.", least=0)
    im_cst: float = option(1.0, "Weight of L_im-cst, the contrast of images of student and teacher.", least=0)
    vlalign: float = option(1.0, "Weight of L_vlalign, the teacher's distribution over the nearest texts.", least=0)
    cap: float = option(0.0, "Weight of L_cap, the contrast with auxiliary captions of the images.", least=0)
    tau: float = option(0.07, "The temperature of every softmax.", above=0)
    mse_form: Literal["unit", "raw"] = option("unit", "L_mse of unit vectors, or its form for vectors of any length.")
    im_cst_form: Direction = option("bidirectional", "L_im-cst in both directions, or from student to teacher alone.")
    k: int = option(
        256, "Texts of L_vlalign, those that the teacher finds nearest; all where there are fewer.", least=1
    )
    filter: bool = option(False, "Leave images that the teacher classifies wrongly out of L_vlalign.")
    cap_scale: Literal["tau", "none"] = option("tau", "Divide the cosines of L_cap by tau, or not, as released.")

    def __post_init__(self) -> None:
        if not any((self.cls, self.mse, self.im_cst, self.vlalign, self.cap)):
            raise ValueError("cls, mse, im_cst, vlalign and cap are all 0; give one term or more a weight")


def classification_loss(student: Tensor, texts: Tensor, labels: Tensor, tau: float) -> Tensor:
    """L_cls of features (B, D), texts of the classes (C, D) and labels (B,) int64: a scalar."""
    return F.cross_entropy(cosines(student, texts) / tau, labels)


def distance_loss(student: Tensor, teacher: Tensor, form: Literal["unit", "raw"] = "unit") -> Tensor:
    """L_mse of features (B, D): a scalar."""
    if form == "raw":
        return torch.log1p((student - teacher).square().sum(dim=-1).mean() / RAW_SCALE)
    return (F.normalize(student, dim=-1) - F.normalize(teacher, dim=-1)).square().sum(dim=-1).mean()


def image_contrast_loss(student: Tensor, teacher: Tensor, tau: float, form: Direction = "bidirectional") -> Tensor:
    """L_im-cst of features (B, D), in which every other image of the batch is a negative: a scalar."""
    logits = cosines(student, teacher) / tau
    own = torch.arange(len(logits), device=logits.device)
    to_teacher = F.cross_entropy(logits, own)
    return to_teacher if form == "single" else (to_teacher + F.cross_entropy(logits.T, own)) / 2


def alignment_loss(
    student: Tensor, teacher: Tensor, texts: Tensor, tau: float, k: int, labels: Tensor | None = None
) -> Tensor:
    """L_vlalign of features (B, D) and texts (C, D): a scalar.

    Args:
        k: texts per image, those with the teacher's largest logits; all where there are fewer.
        labels: (B,) int64; where they are given, only images that the teacher classifies as labelled count.
    """
    target, logits = cosines(teacher, texts) / tau, cosines(student, texts) / tau  # (B, C)
    nearest = target.topk(min(k, len(texts)), dim=-1).indices  # (B, k)
    divergence = F.kl_div(
        logits.gather(1, nearest).log_softmax(dim=-1),
        target.gather(1, nearest).log_softmax(dim=-1),
        reduction="none",
        log_target=True,
    ).sum(dim=-1)  # (B,)
    if labels is None:
        return divergence.mean()
    right = (nearest[:, 0] == labels).to(divergence)
    return (divergence * right).sum() / right.sum().clamp(min=1)


def caption_loss(student: Tensor, captions: Tensor, labels: Tensor, tau: float = 1.0) -> Tensor:
    """L_cap of features (B, D), the texts of the images' captions (B, D) and labels (B,): a scalar."""
    logits = cosines(student, captions) / tau
    own = torch.arange(len(logits), device=logits.device)
    same_class = (labels[:, None] == labels[None, :]) & (own[:, None] != own[None, :])
    return F.cross_entropy(logits.masked_fill(same_class, SAME_CLASS), own)


def distillation_terms(
    student: Tensor,
    teacher: Tensor,
    texts: Tensor,
    labels: Tensor,
    config: DistillationLossConfig,
    captions: Tensor | None = None,
) -> dict[str, Tensor]:
    """The terms that have a weight, by the names of their weights and multiplied by them; their sum is the loss.

    Args:
        student: features h (B, D) of any length.
        teacher: features f (B, D) of any length.
        texts: features of the training classes (C, D) of any length.
        labels: (B,) int64.
        captions: features of the images' auxiliary captions (B, D) of any length, which L_cap needs.

    Raises:
        ValueError: if the student's features have another width than the texts, or L_cap has no captions.
    """
    check_width(student, texts)
    terms = {}
    if config.cls:
        terms["cls"] = config.cls * classification_loss(student, texts, labels, config.tau)
    if config.mse:
        terms["mse"] = config.mse * distance_loss(student, teacher, config.mse_form)
    if config.im_cst:
        terms["im_cst"] = config.im_cst * image_contrast_loss(student, teacher, config.tau, config.im_cst_form)
    if config.vlalign:
        kept = labels if config.filter else None
        terms["vlalign"] = config.vlalign * alignment_loss(student, teacher, texts, config.tau, config.k, kept)
    if config.cap:
        if captions is None:
            raise ValueError(f"cap={config.cap} and there are no captions; give those of the images, or cap=0")
        scale = config.tau if config.cap_scale == "tau" else 1.0
        terms["cap"] = config.cap * caption_loss(student, captions, labels, scale)
    return terms


def check_width(student: Tensor, texts: Tensor) -> None:
    """Refuse features (B, D') beside texts (C, D) of another width.

    Raises:
        ValueError: names both widths.
    """
    if student.shape[-1] != texts.shape[-1]:
        raise ValueError(
            f"the student's features have {student.shape[-1]} numbers and the teacher's texts {texts.shape[-1]}; a "
            "student lives in its teacher's space, so let it end in a linear layer to that width"
        )


def cosines(rows: Tensor, others: Tensor) -> Tensor:
    """Cosines (B, C) of features (B, D) and (C, D) of any length."""
    return F.normalize(rows, dim=-1) @ F.normalize(others, dim=-1).T

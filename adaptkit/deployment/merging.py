"""Learnt weights folded into a plain backbone, in full or part of the way from zero-shot.

Wortsman et al., "Robust fine-tuning of zero-shot models", arXiv:2109.01903 (WiSE-FT): with zero-shot weights w_0 and
fine-tuned weights w_1,
    w = (1 - alpha) w_0 + alpha w_1
which often keeps more of zero-shot's robustness than w_1, at little cost on the training data.
"""

from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from open_clip.model import CLIP
from open_clip.transformer import QuickGELU
from safetensors.torch import save_file
from torch import Tensor

from adaptkit.artefacts.atomic_file import replacing
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.weight_files import OPENAI_MARKS
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.regular_file import user_path


@runtime_checkable
class Mergeable(Protocol):
    """A method that changes CLIP's weights."""

    def merge_and_unload(self) -> FrozenCLIP: ...


@torch.no_grad()
def merge(method: AdaptedCLIP, alpha: float = 1.0) -> FrozenCLIP:
    """A plain backbone with the method's learnt change in its weights; the method stays as it is.

    Args:
        alpha: interpolation from the zero-shot weights (0) to the learnt ones (1).

    Raises:
        ValueError: if the method learns something other than CLIP's weights, or alpha is not between 0 and 1.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha={alpha}; expected 0 (zero-shot weights) to 1 (the learnt ones)")
    if not isinstance(method, Mergeable):
        raise ValueError(
            f"{type(method).__name__} learns something beside CLIP's weights, so there is nothing to fold into them; "
            "full, clip_lora and peft learn weights"
        )
    try:
        merged = method.merge_and_unload()
    except TypeError as error:
        raise ValueError(str(error)) from None
    if alpha < 1:
        zero_shot = method.backbone.model.state_dict()
        for name, weight in merged.model.state_dict().items():
            if weight.is_floating_point():
                weight.lerp_(zero_shot[name].to(weight), 1 - alpha)
        merged.name = f"{merged.name} at {alpha:g}"
    return merged


def save_backbone(backbone: FrozenCLIP, path: str | Path) -> Path:
    """Write a backbone's weights to a file for `load_backbone(name, checkpoint=...)`.

    A model with QuickGELU gets OpenAI's marks, so that loading recognises it.

    Raises:
        ValueError: if the file name does not end in .safetensors.
    """
    path = user_path(path, "output")
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} is to hold safetensors; give it that ending")
    tensors = {name: tensor.cpu().contiguous().clone() for name, tensor in backbone.model.state_dict().items()}
    model = backbone.model
    if isinstance(model, CLIP) and any(isinstance(module, QuickGELU) for module in model.modules()):
        sizes = (backbone.preprocess_cfg.image_size[0], backbone.context_length, model.vocab_size)
        tensors |= {mark: torch.tensor(size) for mark, size in zip(OPENAI_MARKS, sizes, strict=True)}
    with replacing(path) as temporary:
        save_file(tensors, temporary)
    return path


def largest_difference(method: AdaptedCLIP, backbone: FrozenCLIP, images: Tensor) -> float:
    """Largest difference between unit image features of the method's towers and of a backbone, images (B, 3, H, W)."""
    with torch.no_grad():
        ours, theirs = (
            torch.nn.functional.normalize(clip.encode_image(images), dim=-1) for clip in (method.backbone, backbone)
        )
    return float((ours - theirs).abs().max())

"""The light image model of the query side: a model of timm that gives a map of tokens."""

import timm
import torch
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.student_tower import plan_for


class LightEncoder(nn.Module):
    """Images as the backbone takes them -> tokens (B, P, d_e) of a model of timm, which learns.

    Args:
        timm_name: such as efficientnet_b2, mobilevit_s or vit_tiny_patch16_224.
        pretrained: start from timm's published weights, which timm fetches.

    Raises:
        ValueError: if timm has no such model, or it gives no map of tokens for images of the backbone's size.
    """

    gain: Tensor
    shift: Tensor

    def __init__(self, backbone: FrozenCLIP, timm_name: str, pretrained: bool = False):
        super().__init__()
        plan, theirs = plan_for(backbone, timm_name, None, pretrained), backbone.preprocess_cfg
        self.trunk = timm.create_model(timm_name, pretrained=pretrained, num_classes=0)
        if hasattr(self.trunk, "set_input_size"):
            self.trunk.set_input_size(tuple(theirs.image_size))  # type: ignore[operator]
        # Pixels that are normalised for the backbone, as this model takes them.
        gain = torch.tensor(theirs.std) / torch.tensor(plan.std)
        shift = (torch.tensor(theirs.mean) - torch.tensor(plan.mean)) / torch.tensor(plan.std)
        self.register_buffer("gain", gain[:, None, None], persistent=False)
        self.register_buffer("shift", shift[:, None, None], persistent=False)
        was_training = self.trunk.training
        self.trunk.eval()
        try:
            with torch.no_grad():
                self.width = self(torch.zeros(1, 3, *theirs.image_size)).shape[-1]
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"timm's {timm_name} gives no map of tokens for images of {theirs.image_size[0]} pixels: {error}; take "
                "another model, such as efficientnet_b2"
            ) from error
        self.trunk.train(was_training)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), preprocessed for the backbone -> tokens (B, P, d_e)."""
        found = self.trunk.forward_features(images.to(self.gain) * self.gain + self.shift)  # type: ignore[operator]
        if found.ndim == 3:
            return found[:, getattr(self.trunk, "num_prefix_tokens", 0) :]
        if found.ndim != 4:
            raise ValueError(f"its features have shape {tuple(found.shape)}")
        channels_first = found.shape[1] == self.trunk.num_features
        return found.flatten(2).transpose(1, 2) if channels_first else found.flatten(1, 2)

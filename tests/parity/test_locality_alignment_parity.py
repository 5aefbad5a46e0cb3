"""Locality alignment against numbers recorded from its released code (iancovert/locality-alignment 092ed8e)."""

import json

import numpy as np
import pytest
import timm.models.vision_transformer as timm_vit
import torch
from open_clip.timm_model import TimmModel
from torch import Tensor, nn

from adaptkit.layers.lora_tower import with_updates
from adaptkit.towers.vision import VisionTower, embed_patches, rows_behind_blocks
from adaptkit.towers.vision_views import vision_tower_of
from adaptkit.weights.locality_alignment import (
    MaskEmbedDecoder,
    StudentHead,
    alignment_loss,
    blockwise_masks,
    masked_targets,
    target_scale,
    target_variance,
    uniform_masks,
)
from tests.helpers.golden import FIXTURES, Golden, manifest

pytestmark = pytest.mark.usefixtures("dtype")
VARIANTS = [name for name, entry in manifest("locality_alignment")["variants"].items() if "tensors" in entry]
SOFT_CAP = 30.0


def tiny_vit(settings: dict, golden: Golden, prefix: str) -> tuple[nn.Module, VisionTower]:
    """The recorded ViT and its tower in adaptkit's form."""
    visual = TimmModel("test_vit", embed_dim=0, image_size=32, pool="token", proj="")
    visual.trunk = timm_vit.VisionTransformer(
        img_size=settings["img"],
        patch_size=settings["patch"],
        embed_dim=settings["dim"],
        depth=settings["depth"],
        num_heads=settings["heads"],
        mlp_ratio=2,
        num_classes=0,
    )
    state = {name.removeprefix(prefix): golden[name] for name in golden.tensors if name.startswith(prefix)}
    own = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    visual.trunk.load_state_dict(own)
    tower = vision_tower_of(visual)
    assert tower is not None
    return visual.trunk, tower


class Student(nn.Module):
    """The released student in our parts: every weight learns, and attention is soft-capped."""

    def __init__(self, golden: Golden):
        super().__init__()
        settings = golden.settings
        self.trunk, tower = tiny_vit(settings, golden, "student/encoder.")
        capped = nn.ModuleDict({str(layer): nn.ModuleDict() for layer in range(tower.depth)})
        self.tower = with_updates(tower, capped, SOFT_CAP)
        self.head = StudentHead(settings["dim"], settings["dec_dim"], settings["head"], eps=1e-6)
        self.decoder = MaskEmbedDecoder(
            settings["dec_dim"],
            settings["heads"],
            tower.n_patches,
            tower.n_prefix,
            settings["dim"],
            settings["dec_layers"],
            settings["ls"],
            eps=1e-6,
        )
        self.head.norm = self.trunk.norm
        parts = {name.removeprefix("student/"): golden[name] for name in golden.tensors if name.startswith("student/")}
        self.decoder.load_state_dict(_below(parts, "decoder."))
        self.head.head.load_state_dict(_below(parts, "encoder.head."))

    def tokens(self, images: Tensor) -> Tensor:
        return self.head(rows_behind_blocks(self.tower, embed_patches(self.tower, images)).x)

    def named(self) -> dict[str, nn.Parameter]:
        """The parameters under their recorded names."""
        return {
            **{f"encoder.{name}": parameter for name, parameter in self.trunk.named_parameters()},
            **{f"encoder.head.{name}": parameter for name, parameter in self.head.head.named_parameters()},
            **{f"decoder.{name}": parameter for name, parameter in self.decoder.named_parameters()},
        }


def _below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_equals_the_released_code(variant):
    golden = Golden("locality_alignment", variant)
    settings, student = golden.settings, Student(golden)
    _, teacher = tiny_vit(settings, golden, "teacher/")
    draws, images = golden["draws"], golden["images"]
    variance = target_variance([masked_targets(teacher, images[0], uniform_masks(draws[0]))])
    golden.check("baseline_variance", torch.tensor(variance, dtype=torch.get_default_dtype()))
    scale = target_scale(variance) if settings["loss"] == "mse" else 1.0
    named = student.named()
    optimizer = torch.optim.AdamW(named.values(), settings["lr"], betas=(0.9, 0.95), weight_decay=0.01)
    losses = []
    for step in range(1, settings["steps"] + 1):
        masks = uniform_masks(draws[step])
        targets = masked_targets(teacher, images[step], masks, scale=scale)
        tokens = student.tokens(images[step])
        predictions = student.decoder(tokens, masks)
        loss = alignment_loss(predictions, targets, masks, settings["loss"])
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.detach())
        if step == 1:
            golden.check("mask", masks)
            golden.check("target", targets)
            golden.check("encoder_tokens", tokens)
            golden.check("prediction", predictions)
            golden.check("loss", loss)
            for name, parameter in named.items():
                if f"grad/{name}" in golden:
                    golden.check(f"grad/{name}", parameter.grad)
        nn.utils.clip_grad_norm_(named.values(), 1.0)
        optimizer.step()
        for name in settings["store"]:
            if f"step{step}/{name}" in golden:
                golden.check_trained(f"step{step}/{name}", named[name])
    golden.check_trained("losses", torch.stack(losses))


@pytest.mark.parametrize("third", ["zeros", "ones"])
def test_blocks_equal_the_released_sampler_but_for_the_third_mask(third):
    entry = manifest("locality_alignment")["variants"]["blockwise_third_mask"]
    recorded = torch.tensor(json.loads((FIXTURES / "locality_alignment" / entry["file"]).read_text())["masks"])
    masks = blockwise_masks(len(recorded) // 3, (8, 8), np.random.default_rng(3), third=third).int()
    if third == "ones":
        assert bool((masks[2::3] == 1).all())
        assert bool((recorded[2::3] == 0).all())
        masks, recorded = masks[torch.arange(len(masks)) % 3 < 2], recorded[torch.arange(len(masks)) % 3 < 2]
    assert torch.equal(masks, recorded.int())

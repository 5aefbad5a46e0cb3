"""Finite discrete tokens for the contrastive trainer: a CLIP and a codebook that learn together from image-text pairs.

Chen et al., "Revisiting Multimodal Representation in Contrastive Learning: From Patch and Token Embeddings to Finite
Discrete Tokens", arXiv:2303.14865, as its released code trains it. Patches are the image tower's output rows before
its last norm and without the class token; words are the text tower's rows after its last norm. The only loss is
InfoNCE over the codebook activations of both; the towers' global features get none.

Departure: the released code keeps the patch embedding at its random start; here it learns with the rest.
Departure: like this trainer's other loss, pairs with equal labels are positives of one another.
"""

from __future__ import annotations

import torch
from open_clip.model import CLIP
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from adaptkit.fdt import FDTModel, FDTModelConfig
from adaptkit.wrappers.fdt.grounding import capped_exp
from trainers.studies.pretraining.contrastive import ALONE, PairBatch, clip_loss, short_text_rows
from trainers.studies.pretraining.peers import Peers


class CLIPWithFDT(nn.Module):
    """The towers of a CLIP in front of a codebook; all of them learn."""

    def __init__(self, clip: CLIP, config: FDTModelConfig):
        super().__init__()
        self.clip = clip
        self.fdt = FDTModel(clip.visual.class_embedding.shape[-1], clip.token_embedding.embedding_dim, config)

    def encode_image(self, images: Tensor, temperature: float) -> Tensor:
        """Images (B, 3, H, W) -> F (B, d), not normalised."""
        patches = patch_rows(self.clip.visual, images)
        with torch.autocast(images.device.type, enabled=False):
            return self.fdt.encode_image(patches.float(), temperature)

    def encode_text(self, tokens: Tensor, temperature: float) -> Tensor:
        """Captions (B, L), cut to their longest length -> F (B, d), not normalised."""
        words = short_text_rows(self.clip, tokens)
        real = torch.arange(tokens.shape[1], device=tokens.device) <= tokens.argmax(dim=-1)[:, None]
        with torch.autocast(tokens.device.type, enabled=False):
            return self.fdt.encode_text(words.float(), real, temperature)


def fdt_loss(model: CLIPWithFDT, batch: PairBatch, progress: float, steps: int, peers: Peers = ALONE) -> Tensor:
    """InfoNCE of one batch over grounded features, at the temperature scheduled for `progress`."""
    model.fdt.clamp_scale_()
    T = model.fdt.config.temperature_at(int(progress * steps))
    image_features = peers.gather(model.encode_image(batch.images, T))
    text_features = peers.gather(model.encode_text(batch.tokens, T))
    scale = capped_exp(peers.shared(model.fdt.logit_scale))
    return clip_loss(image_features, text_features, scale.log(), batch.labels)


def patch_rows(visual: VisionTransformer, images: Tensor) -> Tensor:
    """Output rows (B, P, D_v) of a learning image tower, for the patches that its patch dropout keeps."""
    patches = visual.conv1(images).flatten(2).transpose(1, 2)  # (B, P, D_v)
    class_token = visual.class_embedding.to(patches.dtype).expand(len(images), 1, -1)
    x = torch.cat([class_token, patches], dim=1) + visual.positional_embedding.to(patches.dtype)
    return visual.transformer(visual.ln_pre(visual.patch_dropout(x)))[:, 1:]

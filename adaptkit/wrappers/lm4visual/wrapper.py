"""LM4Visual: image tokens run through a frozen block of a language tower, behind a gate; around any method.

After Pang et al., "Frozen Transformers in Language Models Are Effective Visual Encoder Layers", arXiv:2310.12973. With
the visual tokens x behind the last block of the image tower (step.py):
    x1 = x W1,   x2 = Block_L(x1),   x3 = x2 W2,   x' = x + gamma x3
and x' goes on to the tower's own last norm and projection. Block_L is a block of a CLIP's text tower with its final
norm, frozen, without causal mask and positions; W1, W2 and gamma learn, beside what the inner method does.

Departure: the paper trains the whole image tower from scratch and has no residual. Here the tower is frozen and gamma
    starts at zero, so that the wrapped method is at first what it is without the wrapper, bit for bit.
Departure: the paper takes the last block of LLaMA-7B; here a text tower gives the block. llama.py has the paper's.
Departure: the maps start at the principal directions of image tokens, scaled to the size of text tokens, because a few
    shots cannot teach them from random numbers; init="trunc_normal", match_rms=False is the paper's start.
Departure: prompts of the inner method do not go through the block.
"""

from dataclasses import replace

import torch
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.images import as_preprocessed
from adaptkit.backbone.inputs import Consumes, convert
from adaptkit.backbone.weights_source import hash_of_weights
from adaptkit.contract.architecture import Architecture, TowerPlan
from adaptkit.contract.method import Support
from adaptkit.contract.registry import register_wrapper
from adaptkit.contract.wrapper import MakeInner, MethodWrapper
from adaptkit.layers.macs import image_lengths, image_shape, macs_behind_blocks, text_shape, tower_macs
from adaptkit.towers.vision import embed_patches, rows_behind_blocks
from adaptkit.wrappers.lm4visual.blocks import language_of, root_mean_square
from adaptkit.wrappers.lm4visual.config import LM4VisualConfig
from adaptkit.wrappers.lm4visual.start import principal_directions
from adaptkit.wrappers.lm4visual.step import LanguageStep, OneTokenStep

START_IMAGES = 256  # training images whose tokens the maps start from
IMAGES_PER_PASS = 64
SOURCE_HASH = "source_hash"


@register_wrapper("lm4visual", LM4VisualConfig)
class LM4Visual(MethodWrapper):
    """The inner method on an image tower with a language block behind its last block, or behind its projection.

    It consumes output rows of the image tower (B, 1 + P, D_v) where the inner method consumes features and the tower
    has a class token alone in front of its patches, so that training runs on kept rows.
    """

    provides = frozenset({"prepare", "image_tokens"})

    def __init__(self, backbone: FrozenCLIP, make_inner: MakeInner, config: LM4VisualConfig):
        tower = backbone.require_vit_blocks("lm4visual")
        if tower.behind_blocks is not None or tower.behind_projection is not None:
            raise ValueError("lm4visual stands around lm4visual, and a tower has one language block; name it once")
        language = language_of(backbone, config)
        block, is_pooled = language.between(config), config.where == "pooled"
        width = backbone.embed_dim if is_pooled else tower.width
        step = LanguageStep(width, block, config.gate, config.gate_rate).to(backbone.device)
        if is_pooled:
            changed = replace(tower, behind_projection=OneTokenStep(step))
        else:
            changed = replace(tower, behind_blocks=step)
        view = backbone.with_towers(vision=changed)
        super().__init__(backbone, make_inner(view))
        self.view, self.step, self.config = view, step, config
        self.consumes = self._kind_of_input()
        if self.consumes != "tokens":
            self.provides = self.provides - ({"image_tokens"} - self.inner.provides)
        if "prepare" not in self.inner.provides:
            self.support_items = START_IMAGES
        self.text_rms = 1.0  # of what stands between the maps; an activation has no text tokens
        if config.match_rms and config.kind != "mlp":
            self.text_rms = language.rms_of_texts([sentences[0] for sentences in self.classes.texts])
        # The address of a block of another model: its name stands in the options, the hash of its weights here.
        self.source_hash = None if language.is_own else hash_of_weights(block)
        self._support: Support | None = None

    def _kind_of_input(self) -> Consumes:
        if self.config.where == "pooled" or self.inner.consumes == "images":
            return self.inner.consumes
        tower = self.backbone.require_vit_blocks("lm4visual")
        # Rows that are handed out are those of the class token and the patches, one for each.
        are_all_rows = tower.pool is None and tower.n_prefix == 1 and tower.shortening is None
        return "tokens" if are_all_rows else "images"

    # The start of the maps

    def prepare(self, support: Support) -> None:
        """Start the maps on the support's images while the gate is closed, and prepare the inner method."""
        if self.step.is_closed:
            self._start_maps(support)
        self._support = support if self.inner.prepares_again and self.consumes != "images" else None
        if "prepare" in self.inner.provides:
            super().prepare(support)

    @torch.no_grad()
    def _start_maps(self, support: Support) -> None:
        rows, step = self._rows_of(support.x), self.step
        if self.config.init == "pca":
            directions = principal_directions(rows, step.block.width)
            step.w1.copy_(directions)
            step.w2.copy_(directions.T)
        if self.config.match_rms:
            mapped = root_mean_square(rows @ step.w1.to(rows.dtype))
            step.w1.mul_(self.text_rms / max(mapped, torch.finfo(torch.float32).tiny))

    def _rows_of(self, x: Tensor) -> Tensor:
        """What the step reads of some of the images that x is of: (N, d) of tokens, or of features."""
        of_one = {"features": 1, "tokens": 2, "images": 3}[self.consumes]
        x = x.flatten(0, x.ndim - of_one - 1)  # (N, ...) of (N, ...) or (N, V, ...)
        places = torch.linspace(0, len(x) - 1, min(len(x), START_IMAGES), device=x.device).round().long()
        parts = [self._before(part.to(self.device)) for part in x[places].split(IMAGES_PER_PASS)]
        return torch.cat(parts).flatten(0, -2).float()

    def _before(self, x: Tensor) -> Tensor:
        """What this method consumes -> what the step reads: tokens (B, n, D_v), or features (B, D)."""
        if self.config.where == "pooled":
            return convert(self.backbone, x, self.consumes, "features")
        if self.consumes == "tokens":
            return x
        return self._rows_of_images(x)

    def _rows_of_images(self, images: Tensor) -> Tensor:
        """Rows (B, n, D_v) behind the last block of the tower that this wrapper was given."""
        tower = self.backbone.require_vit_blocks("lm4visual")
        return rows_behind_blocks(tower, embed_patches(tower, as_preprocessed(images, self.backbone))).x

    # The contract of methods

    def inner_input(self, x: Tensor) -> Tensor:
        """What this method consumes -> what the inner one does, with x3 added where the view does not add it itself."""
        wanted = self.inner.consumes
        if self.consumes == "images":
            return convert(self.view, x, "images", wanted)
        if self.config.where == "pooled":
            assert self.view.vision_tower is not None
            behind = self.view.vision_tower.behind_projection
            return x if behind is None or wanted != "features" else behind(x)
        needed = 1 if wanted == "features" else None  # the class token's row makes the feature
        stepped: Tensor = self.step(x.flatten(0, -3), None, needed).unflatten(0, x.shape[:-2])
        return convert(self.view, stepped, "tokens", wanted)

    def image_tokens(self, images: Tensor) -> Tensor:
        """Output rows (B, 1 + P, D_v): those that this method consumes if it does, else the inner method's."""
        return self.backbone.encode_tokens(images) if self.consumes == "tokens" else self.inner.image_tokens(images)

    def logits_of_tokens(self, tokens: Tensor) -> Tensor:
        return self.logits(tokens) if self.consumes == "tokens" else self.inner.logits_of_tokens(tokens)

    @torch.no_grad()
    def tokens_before_and_after(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens x in front of the step and x3 behind it, of images (B, 3, H, W) without the inner method's prompts.

        Returns:
            Two of (B, n, D_v), class and register tokens in front; with where="pooled" two of (B, 1, D).
        """
        is_pooled = self.config.where == "pooled"
        before = self.backbone.encode_image(images)[:, None] if is_pooled else self._rows_of_images(images)
        return before, self.step.added(before)

    def after_epoch(self, epoch: int) -> None:
        if self._support is not None:
            super().prepare(self._support)  # The step has changed since the inner method saw its images.
        super().after_epoch(epoch)

    def undecayed(self) -> set[str]:
        return {"step.gamma"} | super().undecayed()

    def architecture(self) -> Architecture:
        """What the towers cost with the block, with what the inner method does to them, if it does."""
        inner = super().architecture()
        if inner is not None:
            return inner  # Its costs count what stands behind the blocks of the view that it was given.
        loaded = self.backbone.as_loaded()
        shape = image_shape(loaded)
        behind = image_lengths(self.view)
        macs = {"image": tower_macs(shape, behind=behind) + macs_behind_blocks(self.view)}
        macs["image_as_loaded"] = tower_macs(shape)
        text_depth = 0
        if loaded.text_tower is not None:
            macs["class"] = macs["class_as_loaded"] = tower_macs(text_shape(loaded))
            text_depth = loaded.text_tower.depth
        return Architecture(TowerPlan(shape.depth), TowerPlan(text_depth), macs=macs)

    # What is saved

    def _address(self) -> dict[str, Tensor]:
        """The hash of another model's block as 32 bytes; nothing for a block of the own text tower."""
        if self.source_hash is None:
            return {}
        return {SOURCE_HASH: torch.tensor(list(bytes.fromhex(self.source_hash)), dtype=torch.uint8)}

    def learnt_state(self) -> dict[str, Tensor]:
        return super().learnt_state() | self._address()

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        """Put W1, W2, the gate and the inner method's tensors back.

        Raises:
            ValueError: if they learnt with another block, or are not this method's.
        """
        for name, own in self._address().items():
            if name not in state or not torch.equal(state[name].cpu(), own):
                raise ValueError(
                    f"what was learnt belongs to another block than block {self.config.block} of "
                    f"{self.config.source} with these weights; load the ones it was learnt on, or train it again"
                )
        super().load_learnt_state({name: tensor for name, tensor in state.items() if name not in self._address()})

"""FrozenCLIP: any open_clip model behind a handful of methods. Always in eval mode, never trained."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TypeVar

import torch
import torch.nn.functional as F
from open_clip.coca_model import CoCa
from open_clip.model import CLIP, CustomTextCLIP
from torch import Tensor, nn

from adaptkit.backbone.images import as_preprocessed, size_blamed
from adaptkit.backbone.preprocess import preprocess_of
from adaptkit.backbone.tokenizer import Tokenizer
from adaptkit.backbone.weights_source import WeightsHash, WeightsSource
from adaptkit.towers import full_text, vision
from adaptkit.towers.activations import swap_quick_gelus
from adaptkit.towers.block import NO_PROMPTS
from adaptkit.towers.linears import swap_frozen_linears
from adaptkit.towers.prompt_encoder import FullEncoder, prompt_encoder
from adaptkit.towers.text import TextTower
from adaptkit.towers.token_tree import PromptTokens
from adaptkit.towers.tree_encoder import TreeEncoder
from adaptkit.towers.views import (
    context_length_of,
    keep_text,
    learnt_parameters,
    text_tower_of,
    without_common_padding,
    without_dropout,
)
from adaptkit.towers.vision import VisionTower
from adaptkit.towers.vision_views import vision_tower_of, why_no_vision_tower
from adaptkit.towers.watch import Kept, current, with_homes

Self = TypeVar("Self", bound="FrozenCLIP")


class FrozenCLIP(nn.Module):
    """An open_clip model (`CLIP`, `CustomTextCLIP` or `CoCa`) whose weights never change.

    Plain linear layers of the model are replaced by `linears.FrozenLinear` over the same parameters, and QuickGELU by
    `activations.LeanQuickGELU`, which keeps less for the backward pass.

    Args:
        model: the open_clip model.
        tokenizer: open_clip's tokenizer for it.
        name: name in records and artefacts.
    """

    def __init__(self, model: CLIP | CustomTextCLIP | CoCa, tokenizer: Callable[..., Tensor], name: str = "custom"):
        super().__init__()
        self.name = name
        self.source: WeightsSource | None = None  # Set by `load_backbone`; None for a model from memory.
        self.model: CLIP | CustomTextCLIP | CoCa = model.eval().requires_grad_(False)
        swap_frozen_linears(model)
        swap_quick_gelus(model)
        self.text_tower = with_homes(text_tower_of(model), model)
        self.vision_tower = with_homes(vision_tower_of(model.visual), model.visual)
        self._weights_hash = WeightsHash(model)
        self._loaded_towers = self.text_tower, self.vision_tower
        self.tokenizer = Tokenizer(tokenizer, context_length_of(model))
        self.preprocess_cfg, self.preprocess = preprocess_of(model.visual)

    def train(self: Self, mode: bool = True) -> Self:
        """Stay in eval mode, so that batch norm and dropout never move; `mode` is ignored."""
        return super().train(False)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the image tower's input and of the features."""
        convolutions = (module for module in self.model.visual.modules() if isinstance(module, nn.Conv2d))
        return next(convolutions).weight.dtype

    @property
    def device(self) -> torch.device:
        return self.logit_scale.device

    @property
    def logit_scale(self) -> Tensor:
        """CLIP's log value; its exp multiplies the cosines."""
        return self.model.logit_scale

    @property
    def logit_bias(self) -> Tensor | None:
        """SigLIP's additive bias of the logits; None for the other families."""
        return self.model.logit_bias

    @cached_property
    def embed_dim(self) -> int:
        """Joint width D of image and text features."""
        height, width = self.preprocess_cfg.image_size
        with torch.no_grad():
            if self.vision_tower is not None:  # One row through the projection tells it, without the blocks.
                tower = current(self.vision_tower)
                return tower.project(torch.zeros(1, tower.row_width, dtype=self.dtype, device=self.device)).shape[-1]
            return self.encode_image(torch.zeros(1, 3, height, width, dtype=self.dtype, device=self.device)).shape[-1]

    @property
    def context_length(self) -> int:
        return self.tokenizer.context_length

    @property
    def text_width(self) -> int:
        """Width D_t of the text tower; a ValueError if it is no open_clip transformer."""
        return self._require_text_tower().width

    @property
    def text_depth(self) -> int:
        """Number of blocks of the text tower."""
        return self._require_text_tower().depth

    @property
    def vision_width(self) -> int:
        """Width D_v of the image tower; a ValueError if it lacks the blocks of a CLIP vision transformer."""
        return self.require_vit_blocks("vision_width").width

    @property
    def vision_depth(self) -> int:
        """Number of blocks of the image tower."""
        return self.require_vit_blocks("vision_depth").depth

    @property
    def has_vit_blocks(self) -> bool:
        """Whether the image tower has blocks for prompts, skipping and adapters."""
        return self.vision_tower is not None

    @cached_property
    def is_causal_text(self) -> bool:
        """Whether prompts run as a token tree: the tower is causal, and the tree agrees with it on three texts."""
        tower = self.text_tower
        if tower is None or not tower.is_causal():
            return False
        prompts = self._fixed_prompts(self.tokenize(["a", "a photo of a cat", "a photo of a dog in the snow."]))
        with torch.no_grad(), without_dropout(tower):
            tree, full = TreeEncoder(tower, prompts)(), FullEncoder(tower, prompts)()
        tolerance = 1e-3 if self.dtype in (torch.float32, torch.float64) else 5e-2
        return bool((tree - full).norm() <= tolerance * full.norm())

    @property
    def weights_hash(self) -> str:
        """SHA-256 over names, types, shapes and bytes of the weights; caches and artefacts keep it."""
        return self._weights_hash()

    def keep_text(self, make: Callable[[], Tensor]) -> Kept:
        """A tensor made of the text tower's frozen weights, made again when they have changed."""
        return keep_text(self.model, make)

    def require_vit_blocks(self, asked_by: str) -> VisionTower:
        """The vision tower, or an error if it has no transformer blocks.

        Raises:
            ValueError: if tokens cannot enter the image tower; the message names `asked_by`.
        """
        if self.vision_tower is None:
            raise ValueError(
                f"{asked_by} needs an image tower with the blocks of a vision transformer, and {self.name} has "
                f"{why_no_vision_tower(self.model.visual)}; use a ViT backbone such as ViT-B-16, or a method that "
                "works on features or text prompts"
            )
        return current(self.vision_tower)

    def with_towers(self: Self, text: TextTower | None = None, vision: VisionTower | None = None) -> Self:
        """A view of the same weights through other towers, with blocks skipped or replaced by layers that learn.

        The view shares every module with this backbone, which stays as it is.
        """
        view = copy.copy(self)
        view.text_tower = text or self.text_tower
        view.vision_tower = vision or self.vision_tower
        if view.text_tower is not self.text_tower:
            view.__dict__.pop("is_causal_text", None)
        if view.vision_tower is not self.vision_tower:
            view.__dict__.pop("embed_dim", None)
        return view

    def as_loaded(self: Self) -> Self:
        """A view of the same weights through the towers as they were loaded, without any skipping or replacement."""
        text, vision = self._loaded_towers
        return self.with_towers(text, vision)

    @property
    def learns_text(self) -> bool:
        """Whether the text tower learns; features of fixed texts then change in training and cannot be kept."""
        return self.text_tower is not None and bool(learnt_parameters(self.text_tower))

    def require_frozen_text(self, asked_by: str, why: str) -> None:
        """Refuse a text tower that learns, for the method `asked_by`, which needs a frozen one because it `why`.

        Raises:
            ValueError: if the text tower learns.
        """
        if self.learns_text:
            raise ValueError(
                f"{asked_by} {why}, and something in the text tower of this view of {self.name} learns; leave the text "
                'tower out (for das: encoder="vision", skip_text=0)'
            )

    def learnt_in_towers(self) -> list[nn.Parameter]:
        """Learnt parameters in the towers of this view; none on a backbone as it was loaded."""
        parts = [part for part in (self.text_tower, self.vision_tower) if part is not None]
        return [parameter for part in parts for parameter in learnt_parameters(part)]

    def _require_text_tower(self) -> TextTower:
        if self.text_tower is None:
            raise ValueError(
                f"{self.name} has Hugging Face's {type(self.model.text.transformer).__name__} as text tower, which "
                "takes token ids only: learnt text prompts need one of open_clip's own text transformers"
            )
        return current(self.text_tower)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids (N, L) int64 of N texts.

        Raises:
            ValueError: if a text is longer than the context.
        """
        return self.tokenizer(texts)

    def encode_image(self, images: Tensor, prompts: Mapping[int, Tensor] = NO_PROMPTS) -> Tensor:
        """Images (B, 3, H, W), preprocessed or uint8 pixels -> features (B, D), not normalised.

        Args:
            prompts: layer -> (n, D_v) or (B, n, D_v), learnt tokens behind the patches; see `vision.encode_patches`.

        Raises:
            ValueError: if there are prompts and the image tower has no blocks for them, or `images` refuses the images.
        """
        images = as_preprocessed(images, self)
        if prompts:
            return vision.encode_image(self.require_vit_blocks("prompts in the image tower"), images, prompts)
        if self.vision_tower is not None:
            return vision.encode_image(current(self.vision_tower), images)
        with size_blamed(images, self):
            features = self.model.visual(images.to(self.dtype))
        return features[0] if isinstance(features, tuple) else features

    def encode_tokens(self, images: Tensor, prompts: Mapping[int, Tensor] = NO_PROMPTS) -> Tensor:
        """Images (B, 3, H, W) -> output rows (B, 1 + P, D_v) of the last block: the class token's, then the patches'.

        `project_tokens` of the class token's row equals `encode_image` to the last bit. Needs `require_vit_blocks`.
        """
        images = as_preprocessed(images, self)
        return vision.encode_rows(self.require_vit_blocks("patch rows"), images, prompts)

    def project_tokens(self, rows: Tensor) -> Tensor:
        """Output rows of the image tower (..., D_v) -> features (..., D), not normalised."""
        return self.require_vit_blocks("patch rows").project(rows.to(self.dtype))

    def encode_words(self, texts: Sequence[str] | Tensor) -> tuple[Tensor, Tensor]:
        """N texts, or their token ids -> output rows (N, L, D_t) behind the final norm, and their real tokens (N, L).

        Raises:
            ValueError: if the text tower takes token ids only.
        """
        tower = self._require_text_tower()
        tokens = texts if isinstance(texts, Tensor) else self.tokenize(texts)
        with torch.no_grad():
            return full_text.encode_words(tower, tokens.to(self.device), self.tokenizer.pad_id)

    def project_words(self, rows: Tensor) -> Tensor:
        """Output rows of the text tower (..., D_t) behind its final norm -> features (..., D), not normalised."""
        return self._require_text_tower().project(rows.to(self.dtype))

    def encode_text(self, texts: Sequence[str] | Tensor) -> Tensor:
        """N texts, or their token ids (N, L) -> features (N, D), not normalised; zero texts give (0, D).

        Raises:
            ValueError: if a text is longer than the context.
        """
        if not len(texts):
            return torch.zeros(0, self.embed_dim, dtype=self.dtype, device=self.device)
        tokens = texts if isinstance(texts, Tensor) else self.tokenize(texts)
        if self.text_tower is None:
            tokens = without_common_padding(self.model, tokens).to(self.device)
            return self.model.encode_text(tokens, normalize=False)
        return self.prompt_encoder(self._fixed_prompts(tokens))()[0]

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Token ids (...) -> their embeddings (..., D_t), without position.

        Raises:
            ValueError: if the text tower takes token ids only.
        """
        return self._require_text_tower().token_embedding(tokens.to(self.device))

    def prompt_encoder(self, prompts: PromptTokens) -> TreeEncoder | FullEncoder:
        """A module from learnt tokens (G, S, D_t) to text features (G, C, D), not normalised.

        Raises:
            ValueError: if the text tower takes token ids only.
        """
        return prompt_encoder(self._require_text_tower(), prompts, is_causal=self.is_causal_text)

    def logits(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """Scaled cosines: image features (B, D) and text features (C, D), or (B, C, D) per image -> logits (B, C).

        R batches (R, B, D) meet text features (C, D) that they share, or (R, C, D), one set each: logits (R, B, C).
        """
        image_features = F.normalize(image_features, dim=-1)
        text_features = F.normalize(text_features, dim=-1)
        if text_features.ndim == 3 and image_features.ndim == 2:
            cosines = (text_features @ image_features[:, :, None]).squeeze(-1)
        elif text_features.ndim == 3:
            # A batched product rounds its gradients in another way than the product of one batch, and the training of
            # a prompt makes much of the last digit.
            cosines = torch.stack([own @ texts.T for own, texts in zip(image_features, text_features, strict=True)])
        else:
            cosines = image_features @ text_features.T
        logits = self.logit_scale.exp() * cosines
        return logits if self.logit_bias is None else logits + self.logit_bias

    def _fixed_prompts(self, tokens: Tensor) -> PromptTokens:
        tokens = tokens.cpu()
        ends, start = self._require_text_tower().ends(tokens), self.tokenizer.n_before
        return PromptTokens(tokens, torch.full_like(tokens, -1), ends, start)

"""Babel: the text tower learns one language from pairs of an English text and its translation.

Geigle et al., "Babel-ImageNet: Massively Multilingual Evaluation of Vision-and-Language Representations",
arXiv:2306.08658, find that cheap language-specific training strongly improves languages with few resources. The student
is the frozen text tower and a small module (modules.py), the teacher is the same tower without it, and the image tower
stays as it is. The loss is in losses.py; with images,
    L_image = InfoNCE(s n(f(x)) n(g'(l))^T)
is learnt beside it or alone.

Departure: the paper's training is not released; its objective, data and settings are ours.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.adapted_towers import Part
from adaptkit.contract.head import Answer, Head
from adaptkit.contract.registry import register_head
from adaptkit.options import option, options
from adaptkit.texts.babel.losses import alignment_loss, contrast
from adaptkit.texts.babel.modules import Adapted, with_bottlenecks, with_lora, with_projection, with_token_deltas
from adaptkit.texts.babel.reading import TextReader
from adaptkit.towers.block import is_supported_block
from adaptkit.towers.full_text import encode_full_text
from adaptkit.towers.text import TextTower
from adaptkit.towers.watch import current

Kind = Literal["lora", "bottleneck", "embedding", "projection"]
MOST_TOKENS = 2**24


@options
class BabelConfig:
    language: str = option("", "The code of the language that it is for, such as de; a saved head keeps it.")
    kind: Kind = option("lora", "What learns: updates of attention, bottlenecks, embeddings of tokens, or the end.")
    r: int = option(8, 'Rank of the updates of kind="lora".', least=1)
    alpha: float = option(8.0, "These updates are scaled by alpha / r.", least=0)
    bottleneck: int = option(64, 'Width of the bottlenecks of kind="bottleneck".', least=1)
    tokens: tuple[int, ...] = option(
        (), 'Ids of the tokens that learn with kind="embedding".', least=0, most=MOST_TOKENS
    )
    infonce: float = option(0.1, "Weight lambda of the contrast of a batch's translations.", least=0)
    keep_english: float = option(1.0, "Weight k of what holds English texts where they were.", least=0)


@register_head("babel", BabelConfig, touches="inside")
class Babel(Head):
    """Adapted text features in the space of frozen image features (B, D); its answers are unit vectors of images.

    `backbone` is the view with the adapted text tower. Methods on the image side take `frozen_view()` of it.

    Example:
        ```python
        backbone = adaptkit.load_backbone("adaptkit-mini")
        head = adaptkit.create_head("babel", backbone, language="de", kind="bottleneck")
        similar = head(torch.rand(4, 3, 48, 48)) @ head.encode_text(["Hund", "Katze"]).T
        ```
    """

    consumes = "features"
    provides: frozenset[Part] = frozenset({"encode_text"})

    def __init__(self, backbone: FrozenCLIP, config: BabelConfig):
        frozen = text_tower_with_blocks(backbone)
        backbone.require_frozen_text("babel", "holds English texts where the frozen tower has them")
        tower, learnt = _adapted(frozen, config)
        super().__init__(backbone.with_towers(text=tower))
        self.config, self.frozen_tower, self.learnt = config, frozen, learnt

    @property
    def teacher(self) -> FrozenCLIP:
        """The view with the text tower as it was."""
        return self.backbone.with_towers(text=self.frozen_tower)

    @property
    def reader(self) -> TextReader:
        """Reads texts with what was learnt."""
        return TextReader(self.backbone)

    def outputs(self, x: Tensor) -> Tensor:
        """Frozen image features (B, D) -> unit vectors (B, D)."""
        return F.normalize(x, dim=-1)

    def described(self, outputs: Tensor) -> list[Answer]:
        """The vector of each image."""
        return [{"vector": row} for row in outputs.tolist()]

    def text_features(self, tokens: Tensor) -> Tensor:
        """Token ids (N, L) -> features (N, D) with gradients for what learns, not normalised."""
        if self.config.kind != "embedding":
            return self.backbone.encode_text(tokens)
        # The token tree keeps embeddings of fixed tokens, so it has no gradients for them.
        assert self.backbone.text_tower is not None
        tower = current(self.backbone.text_tower)
        ends = tower.ends(tokens)
        if tower.is_causal():  # nothing behind the last [EOS] is seen
            tokens = tokens[:, : int(ends.max()) + 1]
        return encode_full_text(tower, tower.token_embedding(tokens), tokens, ends)

    def pair_loss(self, translated: Tensor, english: Tensor, teacher: Tensor) -> Tensor:
        """L of token ids (B, L) of translations and of English texts, and the teacher's features g(e) (B, D)."""
        features = self.text_features(torch.cat([translated, english]))  # (2 B, D)
        ours, kept = features.chunk(2)
        scale = self.backbone.logit_scale.exp()
        return alignment_loss(ours, kept, teacher, scale, self.config.infonce, self.config.keep_english)

    def loss(self, x: Tensor, targets: Tensor) -> Tensor:
        """L_image of frozen image features (B, D) and the token ids (B, L) of a text for each of them."""
        texts = F.normalize(self.text_features(targets), dim=-1)
        return contrast(texts, F.normalize(x, dim=-1), self.backbone.logit_scale.exp())

    def frozen_view(self) -> FrozenCLIP:
        """The backbone with a copy of what was learnt, in which nothing learns: for methods on the image side.

        Its name says so, and a method that was saved on it is loaded on it: `adaptkit.load(place, head.frozen_view())`.
        """
        with torch.random.fork_rng(devices=[]):  # what starts at random is replaced at once
            tower, learnt = _adapted(self.frozen_tower, self.config)
        learnt.load_state_dict(self.learnt.state_dict())
        learnt.requires_grad_(False)
        view = self.backbone.with_towers(text=tower)
        view.source = None  # No file holds these weights.
        view.name = f"{self.backbone.name}+babel-{self.config.language or 'any'}"
        return view

    @torch.no_grad()
    def english_cosines(self, texts: Sequence[str]) -> Tensor:
        """Cosines (N,) of the adapted and the frozen features of English texts: 1 where nothing has drifted."""
        return F.cosine_similarity(self.reader.encode(texts), TextReader(self.teacher).encode(texts), dim=-1)


def text_tower_with_blocks(backbone: FrozenCLIP) -> TextTower:
    """The text tower, whose blocks can take modules.

    Raises:
        ValueError: if it has none such.
    """
    tower = backbone.text_tower
    if tower is None or not all(is_supported_block(block) for block in tower.blocks):
        raise ValueError(
            f"babel learns inside a text tower with open_clip's pre-norm blocks, and that of {backbone.name} has none; "
            "take a backbone such as ViT-B-16 or ViT-B-16-SigLIP-i18n-256, or evaluate this one as it is"
        )
    return tower


def token_ids(backbone: FrozenCLIP, texts: Iterable[str]) -> tuple[int, ...]:
    """The tokens that occur in texts, for the option `tokens`; those around every text are not among them.

    Example:
        ```python
        from adaptkit.texts.babel.head import token_ids

        backbone = adaptkit.load_backbone("adaptkit-mini")
        tokens = token_ids(backbone, ["собака", "кошка"])
        head = adaptkit.create_head("babel", backbone, language="ru", kind="embedding", tokens=tokens)
        ```
    """
    return tuple(sorted({token for text in texts for token in backbone.tokenizer.words(text)}))


def _adapted(tower: TextTower, config: BabelConfig) -> Adapted:
    """The tower with the module of a kind in it, and this module."""
    ways: dict[Kind, Callable[[], Adapted]] = {
        "lora": lambda: with_lora(tower, config.r, config.alpha),
        "bottleneck": lambda: with_bottlenecks(tower, config.bottleneck),
        "embedding": lambda: with_token_deltas(tower, config.tokens),
        "projection": lambda: with_projection(tower),
    }
    return ways[config.kind]()

"""ISA: an image becomes a sentence of pseudo words, which a modifier can be added to, and asks for other images.

Du et al., "Image2Sentence based Asymmetrical Zero-shot Composed Image Retrieval", arXiv:2403.01431. For an image x, a
modifier m, the frozen text tower g and the frozen image tower f:
    q(x, m) = n(g([SOS] a photo of w_1 .. w_K , m [EOS])),  w = TokenLearner(e(x))     the gallery holds n(f(image))
    q'      = n(q(x, m) + beta n(g(m)))                                                late fusion, off by default
Only images are needed to learn it; see `trainee` and `losses`. No released code was found; what the paper leaves open
is ours.

Departure: by default e(x) are the patch tokens of the frozen image tower itself, so that no second image model is
    needed and tokens can be cached. With `encoder`, e is a light model of timm that is trained, as in the paper.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.head import Answer, Head
from adaptkit.contract.images import Images, batches
from adaptkit.contract.registry import register_head
from adaptkit.heads.isa.light_encoder import LightEncoder
from adaptkit.heads.isa.losses import global_distillation
from adaptkit.heads.isa.sentences import Sentences
from adaptkit.heads.isa.token_learner import PooledWords, TokenLearner
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.options import option, options

MOST_TOKENS = 64
USUAL = "a photo of a red car and a black cat"  # words whose embeddings say how wide a pseudo word starts


@options
class IsaConfig:
    """Options of the head."""

    tokens: int = option(6, "Pseudo words K of an image.", least=1, most=MOST_TOKENS)
    learner: Literal["attention", "mlp"] = option(
        "attention", "Words from attention maps, or by an MLP of the mean token, as Pic2Word makes its one."
    )
    layers: int = option(1, "Layers of self-attention among the words.", least=0, most=8)
    hidden: int = option(0, "Width of the token learner; 0 for that of the text tower.", least=0, most=2**14)
    template: str = option("a photo of {tokens}", "The sentence of an image alone.", filled=True)
    modified: str = option("a photo of {tokens}, {modifier}", "The sentence of image and modifier.", filled=True)
    beta: float = option(0.0, "Weight of the modifier's own feature in a query.", least=0, most=100)
    encoder: str = option(
        "", "A light image model of timm for queries, such as efficientnet_b2; empty for the backbone's patch tokens."
    )
    encoder_pretrained: bool = option(False, "Start the light model from timm's published weights.")

    def __post_init__(self) -> None:
        if self.encoder_pretrained and not self.encoder:
            raise ValueError("encoder_pretrained=True and no encoder is named; name a model of timm, or leave it out")


@register_head("isa", IsaConfig, touches="before")
class Isa(Head):
    """Patch tokens (B, 1 + P, D_v), or images with a light encoder; what it computes are unit queries (B, D).

    Raises:
        ValueError: if the image tower has no patch tokens and no encoder is named, the text tower takes token ids
            only, or the sentence has no room for so many words.
    """

    def __init__(self, backbone: FrozenCLIP, config: IsaConfig):
        super().__init__(backbone)
        text_width = backbone.text_width
        self.config, self.consumes = config, "images" if config.encoder else "tokens"
        self.encoder = LightEncoder(backbone, config.encoder, config.encoder_pretrained) if config.encoder else None
        width = self.encoder.width if self.encoder else backbone.require_vit_blocks("isa without an encoder").row_width
        self.sentences = Sentences(backbone, config.tokens, config.template, config.modified)
        some_words = torch.tensor(backbone.tokenizer.words(USUAL))
        with torch.no_grad():
            spread = float(backbone.embed_tokens(some_words).float().std())
        hidden = config.hidden or text_width
        self.learner: TokenLearner | PooledWords
        if config.learner == "attention":
            self.learner = TokenLearner(width, config.tokens, text_width, hidden, config.layers, spread)
        else:
            self.learner = PooledWords(width, config.tokens, text_width, hidden, spread)
        self.to(backbone.device)

    def portable_options(self, config: object) -> object:
        """The options without fetching published weights: what has been learnt replaces them."""
        assert isinstance(config, IsaConfig)
        return dataclasses.replace(config, encoder_pretrained=False)

    # From an image to words

    def image_tokens_of(self, x: Tensor) -> Tensor:
        """What the head consumes -> tokens (B, P, d_e) that the learner reads."""
        return at_least_fp32(self.encoder(x) if self.encoder is not None else x[:, 1:])

    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the head consumes -> pseudo words (B, K, D_t), and attention (B, K, P) over the image's places."""
        return self.learner(self.image_tokens_of(x))

    def words(self, x: Tensor) -> Tensor:
        """What the head consumes -> pseudo words (B, K, D_t), which can stand in any prompt."""
        return self.read(x)[0]

    # From words to queries

    def queries_of_words(
        self, words: Tensor, modifiers: Sequence[str] | None = None, beta: float | None = None
    ) -> Tensor:
        """Pseudo words (B, K, D_t) and B modifiers -> unit queries (B, D).

        Args:
            modifiers: an empty one leaves the image alone, as None does for all.
            beta: weight of the modifier's own feature; None takes the option's.

        Raises:
            ValueError: if there are not as many modifiers as images, or a sentence is longer than the context.
        """
        queries = F.normalize(at_least_fp32(self.sentences(self.backbone, words, modifiers)), dim=-1)
        beta = self.config.beta if beta is None else beta
        if modifiers is None or not beta:
            return queries
        distinct = [text for text in dict.fromkeys(modifiers) if text.strip()]
        if not distinct:
            return queries
        with torch.no_grad():
            own = F.normalize(at_least_fp32(self.backbone.encode_text(distinct)), dim=-1)
        rows = dict(zip(distinct, own, strict=True))
        added = torch.stack([rows.get(text, torch.zeros_like(own[0])) for text in modifiers])
        return F.normalize(queries + beta * added, dim=-1)

    def outputs(self, x: Tensor) -> Tensor:
        """What the head consumes -> unit queries (B, D) for images like these."""
        return self.queries_of_words(self.words(x))

    def in_prompt(self, x: Tensor, template: str) -> Tensor:
        """What the head consumes, in a sentence such as "an icon of {tokens}" -> features (B, D), not normalised.

        Raises:
            ValueError: if the template has not one {tokens}, or is longer than the context.
        """
        return self.sentences.placed_in(self.backbone, self.words(x), template)

    @torch.no_grad()
    def compose(
        self, images: Images, modifiers: str | Sequence[str], beta: float | None = None, batch_size: int = 64
    ) -> Tensor:
        """Images of any kind, and what shall be different of each -> unit queries (N, D) to rank images n(f) by.

        Args:
            modifiers: one for each image, or one for all.
            beta: weight of the modifier's own feature; None takes the option's.

        Raises:
            ValueError: if an image cannot be read, there are not as many modifiers as images, or a sentence is longer
                than the context.

        Example:
            ```python
            backbone = adaptkit.load_backbone("adaptkit-mini")
            head = adaptkit.create_head("isa", backbone, tokens=2)
            queries = head.compose(torch.rand(3, 3, 48, 48), "in red")
            assert queries.shape == (3, backbone.embed_dim)
            ```
        """
        was_training = self.training
        self.eval()
        try:
            words = [self.words(self.consume(batch.to(self.device))) for batch in batches(self, images, batch_size)]
            found = torch.cat(words) if words else torch.zeros(0, self.config.tokens, self.backbone.text_width)
            asked = [modifiers] * len(found) if isinstance(modifiers, str) else list(modifiers)
            return self.queries_of_words(found, asked, beta)
        finally:
            self.train(was_training)

    def described(self, outputs: Tensor) -> list[Answer]:
        """The query of each image."""
        return [{"vector": row} for row in outputs.tolist()]

    # Learning

    def loss(self, x: Tensor, targets: Tensor) -> Tensor:
        """L_gcd of what the head consumes, with the teacher's image features (B, D) of the same images -> scalar."""
        return global_distillation(self.outputs(x), at_least_fp32(targets))

    def learnt_state(self) -> dict[str, Tensor]:
        """The token learner, and the light encoder with its running statistics."""
        return self.training_state()

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        self.load_training_state(state)

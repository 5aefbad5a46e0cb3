"""LearnedContext: the learnt tokens of a prompt, and their places among the words of every class.

A prompt of n_ctx learnt tokens, a class name and a full stop (Zhou et al., arXiv:2109.01134, section 3.2):
    end     [SOS] v_1 .. v_n NAME . [EOS]
    middle  [SOS] v_1 .. v_h NAME v_h+1 .. v_n . [EOS],  h = n // 2
    front   [SOS] NAME v_1 .. v_n . [EOS]
Other words may stand in the place of the full stop.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.towers.block import NO_PROMPTS
from adaptkit.towers.prompt_encoder import FullEncoder
from adaptkit.towers.token_tree import PromptTokens
from adaptkit.towers.tree_encoder import TreeEncoder

ClassTokenPosition = Literal["end", "middle", "front"]
# The word in the places of learnt tokens, whose id is read nowhere; some towers would hide padding there.
PLACEHOLDER = "X"


class LearnedContext(nn.Module):
    """Learnt tokens (n_ctx each) in the prompts of C classes, and the text features of those prompts.

    Args:
        ctx: initial tokens, (n_ctx, D_t) shared by all classes or (C, n_ctx, D_t), one set per class.
        position: place of the class name in the prompt.
        words: fixed words in front of the class name, or their token ids; in position "end" they follow the learnt
            tokens.
        tail: what follows the class name.
        apart: whether every class has places of its own for a shared context, as `forward` needs for `by_class`.

    Raises:
        ValueError: if a prompt is longer than the text tower's context, or the position is unknown.
    """

    def __init__(
        self,
        backbone: FrozenCLIP,
        classes: ClassSet,
        ctx: Tensor,
        position: ClassTokenPosition = "end",
        words: str | Sequence[int] = "",
        tail: str = ".",
        *,
        apart: bool = False,
    ):
        super().__init__()
        if position not in get_args(ClassTokenPosition):
            raise ValueError(f"class_token_position {position!r}; expected one of {get_args(ClassTokenPosition)}")
        self.position, self.words, self.tail, self.apart = position, words, tail, apart
        self.ctx = nn.Parameter(ctx)
        self.set_classes(backbone, classes)

    @property
    def n_ctx(self) -> int:
        return self.ctx.shape[-2]

    def set_classes(
        self,
        backbone: FrozenCLIP,
        classes: ClassSet,
        words: str | Sequence[int] | None = None,
        tail: str | None = None,
    ) -> None:
        """Put the learnt tokens around other class names, with other `words` and another `tail` where they are given.

        Raises:
            ValueError: if there is one context per class and the number of classes changes, or a name is too long.
        """
        if self.ctx.ndim == 3 and len(self.ctx) != len(classes):
            raise ValueError(f"{len(self.ctx)} class-specific contexts cannot stand for {len(classes)} classes")
        words, tail = self.words if words is None else words, self.tail if tail is None else tail
        self.encoder = self._encoder_of(backbone, classes.readable, words, tail) if len(classes) else None
        self.words, self.tail = words, tail
        self.dim = 0 if len(classes) else backbone.embed_dim  # Width of the empty features.

    def _encoder_of(
        self, backbone: FrozenCLIP, names: Sequence[str], words: str | Sequence[int], tail: str
    ) -> TreeEncoder | FullEncoder:
        lead = backbone.tokenizer.words(words, behind=PLACEHOLDER) if isinstance(words, str) else words
        class_specific = self.apart or self.ctx.ndim == 3
        return backbone.prompt_encoder(
            prompt_tokens(backbone, names, self.n_ctx, self.position, class_specific, lead, tail)
        )

    def encode(
        self,
        backbone: FrozenCLIP,
        texts: Sequence[str],
        deep: Mapping[int, Tensor] = NO_PROMPTS,
        by_class: Mapping[int, Tensor] = NO_PROMPTS,
    ) -> Tensor:
        """Features (N, D), not normalised, of N texts in place of class names; the classes stay as they are.

        Raises:
            TypeError: if there is one context per class.
            ValueError: if a text is too long.
        """
        if self.ctx.ndim == 3:
            raise TypeError(f"{len(self.ctx)} class-specific contexts cannot stand around other texts")
        if not len(texts):
            return self.ctx.new_zeros(0, backbone.embed_dim)
        encoder = self._encoder_of(backbone, texts, self.words, self.tail)
        return encoder(self._in_slots(encoder), deep, _by_slot(by_class))[0]

    def _in_slots(self, encoder: TreeEncoder | FullEncoder) -> Tensor:
        """The learnt tokens (1, S, D_t) for an encoder's S places."""
        return _for_slots(encoder, self.ctx.flatten(end_dim=-2)[None])

    def forward(
        self,
        ctx: Tensor | None = None,
        deep: Mapping[int, Tensor] = NO_PROMPTS,
        by_class: Mapping[int, Tensor] = NO_PROMPTS,
    ) -> Tensor:
        """Text features, not normalised: (C, D) for the learnt tokens, or (G, C, D) for G variants of them.

        Args:
            ctx: variants (G, n_ctx, D_t) that replace the learnt tokens, for instance one per image.
            deep: layer -> (n, D_t) or (G, n, D_t), learnt tokens that replace the first ones in front of that block.
            by_class: layer -> (C, n_ctx, D_t) or (G, C, n_ctx, D_t), tokens of each class that replace the learnt ones
                in front of that block; for a context whose classes are `apart`.
        """
        if self.encoder is None:  # Built without classes.
            return self.ctx.new_zeros(*(() if ctx is None else (len(ctx),)), 0, self.dim)
        if ctx is None:
            return self.encoder(self._in_slots(self.encoder), deep, _by_slot(by_class))[0]
        return self.encoder(ctx, deep, _by_slot(by_class))

    def of_replicas(self, ctx: Tensor, by_class: Mapping[int, Tensor] = NO_PROMPTS) -> Tensor:
        """Text features (R, C, D), not normalised, of learnt tokens (R, n_ctx, D_t) or (R, C, n_ctx, D_t).

        Args:
            by_class: layer -> (R, C, n_ctx, D_t); see `forward`.
        """
        tokens = ctx.flatten(1, -2)
        return self(tokens if self.encoder is None else _for_slots(self.encoder, tokens), by_class=by_class)

    @property
    def variants_at_once(self) -> int:
        """How many variants of the learnt tokens one pass takes without computing anything a second time."""
        return 1 if self.encoder is None else self.encoder.groups_at_once


def _for_slots(encoder: TreeEncoder | FullEncoder, tokens: Tensor) -> Tensor:
    """Learnt tokens (G, n, D_t), or those of all classes, for the S places of an encoder: (G, S, D_t)."""
    return tokens.repeat(1, encoder.n_slots // tokens.shape[1], 1)


def _by_slot(by_class: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Tokens (..., C, n_ctx, D_t) of each class as an encoder numbers them: (..., C * n_ctx, D_t)."""
    return {layer: tokens.flatten(-3, -2) for layer, tokens in by_class.items()}


def prompt_tokens(
    backbone: FrozenCLIP,
    names: Sequence[str],
    n_ctx: int,
    position: ClassTokenPosition,
    class_specific: bool,
    lead: Sequence[int] = (),
    tail: str = ".",
) -> PromptTokens:
    """The prompts "v_1 .. v_n NAME." of C classes, token by token; slots number learnt tokens class by class.

    Args:
        lead: token ids that every name begins with.
        tail: what every name is followed by.

    Raises:
        ValueError: if a prompt does not fit into the context.
    """
    tokenizer, layout = backbone.tokenizer, backbone.tokenizer.layout
    placeholder = tokenizer.words(PLACEHOLDER)[0]
    n_before = {"end": n_ctx, "middle": n_ctx // 2, "front": 0}[position]
    behind = PLACEHOLDER if n_before else ""
    ids, slots, ends = [], [], []
    for label, name in enumerate(names):
        words = [*lead, *tokenizer.words(f"{name}{tail}", behind)]
        # A name may end in punctuation that merges with the full stop into one token.
        n_name = min(len(lead) + len(tokenizer.words(name, behind)), len(words))
        learnt = [label * n_ctx * class_specific + index for index in range(n_ctx)]
        n_split = 0 if position == "end" else n_name
        padding = layout.padding(n_ctx + len(words), backbone.context_length)
        if padding < 0:
            needed = len(words) - len(lead)
            room = max(0, needed + padding)
            raise ValueError(
                f"class name {name!r} needs {needed} tokens with {'its full stop' if tail == '.' else repr(tail)} "
                f"and {room} remain beside n_ctx={n_ctx}; "
                "lower n_ctx or shorten the name"
            )
        row = [
            *((token, -1) for token in layout.before),
            *((placeholder, slot) for slot in learnt[:n_before]),
            *((token, -1) for token in words[:n_split]),
            *((placeholder, slot) for slot in learnt[n_before:]),
            *((token, -1) for token in words[n_split:]),
            *((token, -1) for token in layout.after),
        ]
        ends.append(len(row) - 1)
        row += [(token, -1) for token in (*[layout.pad] * padding, *layout.last)]
        ids.append([token for token, _ in row])
        slots.append([slot for _, slot in row])
    return PromptTokens(torch.tensor(ids), torch.tensor(slots), torch.tensor(ends), start=len(layout.before))


def random_tokens(backbone: FrozenCLIP, *shape: int, std: float = 0.02) -> Tensor:
    """Learnt tokens of a given shape, drawn from N(0, std^2) with torch's global generator, in fp32."""
    return torch.empty(*shape, device=backbone.device).normal_(std=std)


def random_context(backbone: FrozenCLIP, *shape: int) -> Tensor:
    """Random learnt tokens (*shape, D_t)."""
    return random_tokens(backbone, *shape, backbone.text_width)


def word_context(backbone: FrozenCLIP, words: str, position: ClassTokenPosition = "end") -> Tensor:
    """Token embeddings (n_ctx, D_t) of a phrase in fp32; every word has to be one token.

    "_" stands for a space, as in the released configurations ("a_photo_of_a").

    Raises:
        ValueError: if there is no word, or a word is not one token of the tokenizer.
    """
    words = words.replace("_", " ")
    n_words = len(words.split())
    follows_name = position == "front" or (position == "middle" and n_words == 1)
    tokens = backbone.tokenizer.words(words, behind=PLACEHOLDER if follows_name else "")
    if not tokens or len(tokens) != n_words:
        raise ValueError(
            f"ctx_init {words!r} has {n_words} words and {len(tokens)} tokens; use words that are one token each"
        )
    with torch.no_grad():
        return backbone.embed_tokens(torch.tensor(tokens)).float()


def phrase_context(backbone: FrozenCLIP, phrase: str, n_ctx: int, option: str = "n_ctx") -> tuple[Tensor, str]:
    """Learnt tokens (n_ctx, D_t) for a phrase's first words, and the other words, which stay fixed.

    "_" stands for a space, as in the released configurations. Without a phrase the tokens are random. The released
    codes drop a phrase in silence when there are more than four tokens; here one that is too short is refused.

    Args:
        option: name of the option that is `n_ctx`, for the error message.

    Raises:
        ValueError: if the phrase has fewer than n_ctx words, or one of the first words is not one token.
    """
    words = phrase.replace("_", " ").split()
    if not words:
        return random_context(backbone, n_ctx), ""
    if len(words) < n_ctx:
        raise ValueError(
            f"ctx_init {phrase!r} has {len(words)} words and {option}={n_ctx} tokens are to start from them; set "
            f'ctx_init="" for random tokens, a phrase of {n_ctx} words or more, or {option}={len(words)} or less'
        )
    return word_context(backbone, " ".join(words[:n_ctx])), " ".join(words[n_ctx:])

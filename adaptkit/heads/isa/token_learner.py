"""The adaptive token learner: a map of image tokens becomes K pseudo words of the text tower.

Du et al., "Image2Sentence based Asymmetrical Zero-shot Composed Image Retrieval", arXiv:2403.01431. For tokens E
(P, d_e) of an image behind a layer norm:
    alpha = softmax over positions of MLP_a(E),  (P, K)
    v_k   = sum_p alpha[p, k] E[p] W_v,          then some layers of self-attention among the K
    w_k   = MLP_o(v_k),                          (K, D_t)

Departure: the last layer starts so that words are spread as the tower's token embeddings are, which the tower expects.
"""

import math

import torch
from torch import Tensor, nn

HEADS = 4  # of the self-attention among words; 1 where the width does not divide


class TokenLearner(nn.Module):
    """K pseudo words of an image, each from the places that its own attention map looks at.

    Args:
        width: d_e of the image tokens.
        count: K words.
        text_width: D_t of the text tower's token embeddings.
        hidden: width in between.
        layers: of self-attention among the words.
        spread: deviation of a coordinate of a word at the start.

    Example:
        ```python
        from adaptkit.heads.isa import TokenLearner

        learner = TokenLearner(width=192, count=6, text_width=128, hidden=128)
        words, attention = learner(torch.randn(2, 36, 192))
        assert words.shape == (2, 6, 128) and attention.shape == (2, 6, 36)
        ```
    """

    def __init__(self, width: int, count: int, text_width: int, hidden: int, layers: int = 1, spread: float = 0.02):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.scores = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, count))  # MLP_a
        self.values = nn.Linear(width, hidden, bias=False)  # W_v
        self.refine = nn.Sequential(*(WordAttention(hidden) for _ in range(layers)))
        self.out = word_layers(hidden, text_width, spread)  # MLP_o

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Image tokens (B, P, d_e) -> words (B, K, D_t), and attention (B, K, P) whose rows sum to 1."""
        tokens = self.norm(tokens)
        attention = self.scores(tokens).transpose(1, 2).softmax(dim=-1)  # (B, K, P)
        return self.out(self.refine(attention @ self.values(tokens))), attention


class PooledWords(nn.Module):
    """K pseudo words by an MLP of the mean token, as in Pic2Word where K is 1: the learner without attention.

    Arguments are those of `TokenLearner`.
    """

    def __init__(self, width: int, count: int, text_width: int, hidden: int, spread: float = 0.02):
        super().__init__()
        self.count = count
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, hidden * count), nn.GELU())
        self.out = word_layers(hidden, text_width, spread)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Image tokens (B, P, d_e) -> words (B, K, D_t), and attention (B, K, P), which is the same everywhere."""
        pooled = self.inner(self.norm(tokens).mean(dim=1)).unflatten(-1, (self.count, -1))  # (B, K, hidden)
        attention = tokens.new_full((len(tokens), self.count, tokens.shape[1]), 1 / tokens.shape[1])
        return self.out(pooled), attention


class WordAttention(nn.Module):
    """A layer of self-attention among the words of an image, with an MLP behind it: (B, K, width) -> (B, K, width)."""

    def __init__(self, width: int):
        super().__init__()
        heads = HEADS if width % HEADS == 0 else 1
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm_1(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        return x + self.mlp(self.norm_2(x))


def word_layers(hidden: int, text_width: int, spread: float) -> nn.Sequential:
    """Layers (..., hidden) -> (..., D_t) whose outputs start with a deviation of about `spread`."""
    last = nn.Linear(hidden, text_width)
    layers = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.GELU(), last)
    with torch.no_grad():
        drawn = layers(torch.randn(256, hidden, generator=torch.Generator().manual_seed(0)))
        last.weight.mul_(spread / drawn.std().clamp_min(math.ulp(1.0)))
        last.bias.zero_()
    return layers

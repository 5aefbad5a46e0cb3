"""The meta-model: a small transformer that reads demonstrations and classes, and compares queries with the classes.

Ours, after Chen et al., "SINC: Self-Supervised In-Context Learning for Vision-Language Tasks", arXiv:2307.07742. For
unit features f of images and t of class texts, and a slot of every class that says nothing of what the class is:
    token(demonstration k) = W_f c(f_k) + e_slot(y_k) + E_demo      c: less the mean of the demonstrations, unit length
    token(class c)         = W_t c(t_c) + e_slot(c) + E_class       c: less the mean of the classes, unit length
    token(query)           = W_f c(f_q) + E_query
    score_c                = 10 gamma cos(o_q, o_c)        o: the last layer's states
CLIP's features lie in a narrow cone, hence the means. No token has a position, so demonstrations are a set.
Demonstrations and classes attend to each other, and queries to them; nothing attends to a query, so the context is read
once for all queries and answers do not depend on each other. gamma is learnt from 0, where the scores are nothing and
zero-shot CLIP, to which they are added, is all.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.options import option, options

SHARPNESS = 10.0  # factor of the cosines beside gamma
PACE = 10.0  # how much faster than all other parameters gamma is to move
SHARP_START = 1.5  # factor of queries and keys at the start
NONE = -1  # in place of a slot or of a label: padding
DEMO, QUERY, CLASS = range(3)  # kinds of tokens


@options
class MetaShape:
    dim: int = option(512, "Width D of the backbone's joint space.", least=1, most=2**14)
    width: int = option(256, "Width of the tokens.", least=1, most=2**13)
    layers: int = option(4, "Transformer layers.", least=1, most=64)
    heads: int = option(4, "Attention heads of a layer.", least=1, most=64)
    mlp_ratio: int = option(4, "Width of a layer's MLP in widths of a token.", least=1, most=16)
    slots: int = option(64, "Most classes of an episode.", least=2, most=2**12)

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width={self.width} with heads={self.heads}; the heads must divide the width")


@dataclass(frozen=True)
class Context:
    """Demonstrations and classes of E episodes, padded to the same numbers N and C.

    Args:
        demos: unit image features (E, N, D).
        labels: places of their classes among the C, (E, N) int64; NONE is padding.
        texts: unit class features (E, C, D).
        slots: slot of every class, different within an episode, (E, C) int64; NONE is padding.
    """

    demos: Tensor
    labels: Tensor
    texts: Tensor
    slots: Tensor

    @property
    def is_real(self) -> Tensor:
        """Which of the N + C tokens are no padding: (E, N + C) bool."""
        return torch.cat([self.labels >= 0, self.slots >= 0], dim=1)


class Block(nn.Module):
    """A pre-norm transformer layer in which one sequence attends to another."""

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self._start_as_a_reader()

    @torch.no_grad()
    def _start_as_a_reader(self) -> None:
        """Let tokens attend to what they resemble and add it to themselves; the MLP adds nothing yet."""
        width = self.query.in_features
        turn = SHARP_START * torch.linalg.qr(torch.randn(width, width))[0]
        for linear in (self.query, self.key_value, self.out, self.down):
            linear.bias.zero_()
        self.query.weight.copy_(turn)
        self.key_value.weight.copy_(torch.cat([turn, torch.eye(width)]))
        self.out.weight.copy_(torch.eye(width))
        self.down.weight.zero_()

    def forward(self, x: Tensor, context: Tensor, is_seen: Tensor) -> Tensor:
        """Rows (E, L, W) that attend to a context (E, T, W), where `is_seen` (E, L or 1, T), -> (E, L, W)."""
        keys, values = self.key_value(self.before_attention(context)).chunk(2, dim=-1)
        query = self.query(self.before_attention(x))
        query, keys, values = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, keys, values))
        read = F.scaled_dot_product_attention(query, keys, values, is_seen[:, None])  # (E, heads, L, W / heads)
        x = x + self.out(read.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.before_mlp(x))))


class MetaModel(nn.Module):
    """Scores of queries for the classes of their episode; parameters start at random, and gamma at 0."""

    def __init__(self, shape: MetaShape):
        super().__init__()
        self.shape = shape
        self.of_image, self.of_text = nn.Linear(shape.dim, shape.width), nn.Linear(shape.dim, shape.width)
        self.slots = nn.Parameter(torch.randn(shape.slots, shape.width))
        self.kinds = nn.Parameter(0.02 * torch.randn(3, shape.width))
        self.blocks = nn.ModuleList(
            Block(shape.width, shape.heads, shape.mlp_ratio * shape.width) for _ in range(shape.layers)
        )
        self.norm = nn.LayerNorm(shape.width)
        self._start_without_texts()
        self.raw_gamma = nn.Parameter(torch.zeros(()))

    @torch.no_grad()
    def _start_without_texts(self) -> None:
        """Let images enter with their angles, where tokens are wide enough, and texts not yet: zero-shot has them."""
        nn.init.orthogonal_(self.of_image.weight)
        for parameter in (self.of_image.bias, self.of_text.weight, self.of_text.bias):
            parameter.zero_()

    def forward(self, context: Context, queries: Tensor) -> Tensor:
        """Unit image features (E, Q, D) -> scores (E, Q, C), which are added to zero-shot logits."""
        scale = self.shape.dim**0.5  # entries of a unit feature are of the order of 1 / sqrt(D)
        middle = mean_of_real(context.demos, context.labels)
        x = self.of_image(scale * F.normalize(queries - middle, dim=-1)) + self.kinds[QUERY]
        read = torch.cat([self._demonstrations(context, middle, scale), self._classes(context, scale)], dim=1)
        is_real = context.is_real[:, None]  # (E, 1, N + C)
        is_another = ~torch.eye(is_real.shape[-1], dtype=torch.bool, device=is_real.device)
        for block in self.blocks:
            x, read = block(x, read, is_real), block(read, read, is_real & is_another)
        count = context.demos.shape[1]
        answers, classes = F.normalize(self.norm(x), dim=-1), F.normalize(self.norm(read[:, count:]), dim=-1)
        return SHARPNESS * self.gamma * (answers @ classes.transpose(1, 2))

    def _demonstrations(self, context: Context, middle: Tensor, scale: float) -> Tensor:
        """Tokens (E, N, W) of the demonstrations."""
        slots = context.slots.gather(1, context.labels.clamp(min=0)).clamp(min=0)
        demos = F.normalize(context.demos - middle, dim=-1)
        return self.of_image(scale * demos) + self.slots[slots] + self.kinds[DEMO]

    def _classes(self, context: Context, scale: float) -> Tensor:
        """Tokens (E, C, W) of the classes."""
        texts = F.normalize(context.texts - mean_of_real(context.texts, context.slots), dim=-1)
        return self.of_text(scale * texts) + self.slots[context.slots.clamp(min=0)] + self.kinds[CLASS]

    @property
    def gamma(self) -> Tensor:
        """The share of the scores, a scalar."""
        return PACE * self.raw_gamma

    @property
    def lowest(self) -> Tensor:
        """The lowest score that there is, a scalar: that of classes which an episode leaves out."""
        return -SHARPNESS * self.gamma.abs()


def mean_of_real(features: Tensor, numbers: Tensor) -> Tensor:
    """The mean (E, 1, D) of features (E, N, D) whose slots or labels (E, N) are no padding."""
    weights = (numbers >= 0).to(features)[..., None]
    return (features * weights).sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True).clamp(min=1)

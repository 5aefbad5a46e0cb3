"""SINC as released: fuser, label embeddings, correlation token, causal encoder and classifier, for frozen features.

Chen et al., "SINC: Self-Supervised In-Context Learning for Vision-Language Tasks", arXiv:2307.07742, as in its code
(YiSyuanChen/SINC at 2ff6c1d). The names of the parameters are those of the code, so its weights can be loaded. For
features x of an example, words w of a label, demonstrations k = 1..N and a query q:
    fuse(x)   = W_o ReLU(z + sum of W_s z), z = l + layer(l), l = W_f (learnt query), layer: cross-attention over W_f x
    e_label   = W_l (mean of the word embeddings w)
    sequence  = [W_c (mean_k fuse(q) * fuse(k))], fuse(1), e_1, ..., fuse(N), e_N, fuse(q), each through W_in
    states    = GPT-2(sequence), at the positions of features
    logit_c   = w . (ReLU(W_d state) * ReLU(W_e e_c)) + b
Without demonstrations the sequence is [W_c (fuse(q) * fuse(q))], fuse(q). With `label_multiplicity`, one drawn
projection turns the label embeddings of a prompt, and not those of the classifier.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.options import option, options

CLASSIFIER_WIDTH = 64
PADDING = 1  # the word that fills label names up; its embedding does not learn
NORM_EPS = 1e-5


@options
class ReleasedShape:
    feature_width: int = option(1792, "Numbers of a feature of an example.", least=1)
    fuser_width: int = option(768, "Width of the fuser and of the word embeddings.", least=1)
    width: int = option(768, "Width of the sequence.", least=1)
    layers: int = option(12, "Layers of the causal encoder.", least=1)
    heads: int = option(12, "Heads of all attention.", least=1)
    positions: int = option(1024, "Most tokens of a sequence.", least=1)
    vocabulary: int = option(50265, "Words that labels are made of.", least=2)
    label_multiplicity: int = option(0, "Random projections of label embeddings to draw from; 0 is none.", least=0)
    correlation: bool = option(True, "A first token tells how alike the query and the demonstrations are.")


class Attention(nn.Module):
    """BERT's attention with its output layer: residual, then norm."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        # `self` is what the released code calls its projections.
        self.self = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")})
        self.output = nn.ModuleDict({"dense": nn.Linear(width, width), "LayerNorm": nn.LayerNorm(width, eps=NORM_EPS)})

    def forward(self, x: Tensor, over: Tensor) -> Tensor:
        """Rows (B, L, W) that attend to rows (B, T, W)."""
        parts = (self.self["query"](x), self.self["key"](over), self.self["value"](over))
        read = attend(*parts, heads=self.heads, causal=False)
        return self.output["LayerNorm"](self.output["dense"](read) + x)


class FuserLayer(nn.Module):
    """BERT's post-norm layer: self-attention, cross-attention over features and the rows themselves, feed-forward."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention, self.crossattention = Attention(width, heads), Attention(width, heads)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, 2 * width)})
        self.output = nn.ModuleDict(
            {"dense": nn.Linear(2 * width, width), "LayerNorm": nn.LayerNorm(width, eps=NORM_EPS)}
        )

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """Rows (B, L, W) with features (B, T, W) of one example."""
        attended = self.attention(x, x)
        attended = self.crossattention(attended, torch.cat([features, x], dim=1))
        hidden = F.gelu(self.intermediate["dense"](attended))
        return self.output["LayerNorm"](self.output["dense"](hidden) + attended)


class Fuser(nn.Module):
    """Features (B, T, F) of examples -> one vector (B, H) each, read by learnt queries (L, F)."""

    def __init__(self, shape: ReleasedShape):
        super().__init__()
        width = shape.fuser_width
        self.fc = nn.Linear(shape.feature_width, width)
        self.fcs = nn.ModuleList([nn.Linear(width, width)])
        self.attention_layers = nn.ModuleList([FuserLayer(width, shape.heads)])
        self.final = nn.Linear(width, shape.width)

    def forward(self, query: Tensor, features: Tensor) -> Tensor:
        x, features = self.fc(query).expand(len(features), -1, -1), self.fc(features)
        for layer, fc in zip(self.attention_layers, self.fcs, strict=True):
            x = x + layer(x, features)
            x = x + fc(x)
        return self.final(F.relu(x)).mean(dim=1)


class Conv1D(nn.Module):
    """GPT-2's linear layer, whose weight (in, out) is transposed."""

    def __init__(self, width: int, out: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(0.02 * torch.randn(width, out)), nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class CausalBlock(nn.Module):
    """A pre-norm layer of GPT-2."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = (nn.LayerNorm(width, eps=NORM_EPS) for _ in range(2))
        self.attn = nn.ModuleDict({"c_attn": Conv1D(width, 3 * width), "c_proj": Conv1D(width, width)})
        self.mlp = nn.ModuleDict({"c_fc": Conv1D(width, 4 * width), "c_proj": Conv1D(4 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        parts = self.attn["c_attn"](self.ln_1(x)).chunk(3, dim=-1)
        x = x + self.attn["c_proj"](attend(*parts, heads=self.heads, causal=True))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate="tanh"))


class CausalEncoder(nn.Module):
    """GPT-2 over embeddings (B, L, H), with learnt positions."""

    def __init__(self, shape: ReleasedShape):
        super().__init__()
        self.wpe = nn.Embedding(shape.positions, shape.width)
        self.h = nn.ModuleList(CausalBlock(shape.width, shape.heads) for _ in range(shape.layers))
        self.ln_f = nn.LayerNorm(shape.width, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > self.wpe.num_embeddings:
            raise ValueError(
                f"the sequence has {x.shape[1]} tokens and the encoder {self.wpe.num_embeddings} positions; give fewer "
                "demonstrations"
            )
        x = x + self.wpe.weight[: x.shape[1]]
        for block in self.h:
            x = block(x)
        return self.ln_f(x)


class Classifier(nn.Module):
    """States (..., H) against label embeddings (C, H) -> logits (..., C)."""

    def __init__(self, width: int):
        super().__init__()
        self.dense_d, self.dense_l = nn.Linear(width, CLASSIFIER_WIDTH), nn.Linear(width, CLASSIFIER_WIDTH)
        self.dense = nn.Linear(CLASSIFIER_WIDTH, 1)

    def forward(self, states: Tensor, labels: Tensor) -> Tensor:
        products = F.relu(self.dense_d(states))[..., None, :] * F.relu(self.dense_l(labels))
        return self.dense(products).squeeze(-1)


class ReleasedSinc(nn.Module):
    """The released model behind its frozen backbone."""

    def __init__(self, shape: ReleasedShape):
        super().__init__()
        self.shape = shape
        self.fuser_qry = nn.Parameter(torch.randn(1, shape.feature_width))
        self.fuser = Fuser(shape)
        self.meta_label_embeddings = nn.Embedding(shape.vocabulary, shape.fuser_width, padding_idx=PADDING)
        self.meta_label_transforms = nn.Linear(shape.fuser_width, shape.width)
        self.meta_label_projs = nn.ModuleList(
            nn.Linear(shape.width, shape.width, bias=False) for _ in range(shape.label_multiplicity)
        )
        if shape.correlation:
            self.meta_sim_proj = nn.Linear(shape.width, shape.width)
        self.meta_in_transform = nn.Linear(shape.width, shape.width)
        self.meta_encoder = CausalEncoder(shape)
        self.meta_classifier = Classifier(shape.width)

    def label_embeddings(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Words (C, L) of label names, with a mask (C, L) of the real ones -> embeddings (C, H)."""
        words, real = self.meta_label_embeddings(tokens), mask[..., None].to(self.meta_label_transforms.weight)
        return self.meta_label_transforms((words * real).sum(dim=1) / real.sum(dim=1))

    def states(
        self, query: Tensor, demos: Tensor | None, labels: Tensor | None, embeddings: Tensor, projection: int | None
    ) -> Tensor:
        """States (B, N + 1, H) at the demonstrations and, last, at the query.

        Args:
            query: features (B, T, F).
            demos: features (B, N, T, F) of the demonstrations; None for none.
            labels: their labels (B, N) among the embeddings.
            embeddings: label embeddings (C, H).
            projection: which of the random projections is drawn; None where there are none.

        Raises:
            ValueError: if a projection is drawn where there are none, or none where there are some, or there are
                neither demonstrations nor a correlation token.
        """
        if (projection is None) != (not self.shape.label_multiplicity):
            raise ValueError(
                f"projection={projection} with label_multiplicity={self.shape.label_multiplicity}; draw one of them"
            )
        of_query = self.fuser(self.fuser_qry, query)  # (B, H)
        if demos is None or labels is None:
            if not self.shape.correlation:
                raise ValueError("without demonstrations the sequence needs its correlation token; switch it on")
            sequence = [self.meta_sim_proj(of_query * of_query)[:, None], of_query[:, None]]
            return self.meta_encoder(self.meta_in_transform(torch.cat(sequence, dim=1)))[:, 1:]
        of_demos = self.fuser(self.fuser_qry, demos.flatten(0, 1)).unflatten(0, labels.shape)  # (B, N, H)
        said = embeddings if projection is None else self.meta_label_projs[projection](embeddings)
        pairs = torch.stack([of_demos, said[labels]], dim=2).flatten(1, 2)  # (B, 2 N, H)
        sequence = [pairs, of_query[:, None]]
        if self.shape.correlation:
            alike = (of_query[:, None] * of_demos).mean(dim=1)
            sequence.insert(0, self.meta_sim_proj(alike)[:, None])
        states = self.meta_encoder(self.meta_in_transform(torch.cat(sequence, dim=1)))
        return states[:, int(self.shape.correlation) :: 2]

    def forward(
        self,
        query: Tensor,
        demos: Tensor | None,
        labels: Tensor | None,
        tokens: Tensor,
        mask: Tensor,
        projection: int | None = None,
        candidates: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """States (B, N + 1, H) and logits (B, N + 1, C), the query's last.

        Args:
            tokens, mask: words (C, L) of the labels; see `label_embeddings`.
            candidates: the labels to tell apart, such as those of an N-way episode; None for all.
        """
        embeddings = self.label_embeddings(tokens, mask)
        states = self.states(query, demos, labels, embeddings, projection)
        logits = self.meta_classifier(states, embeddings)
        return states, logits if candidates is None else logits[..., candidates]


def query_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits (B, N + 1, C) at the query, the last position, alone; labels (B,)."""
    return F.cross_entropy(logits[:, -1], labels)


def attend(query: Tensor, key: Tensor, value: Tensor, *, heads: int, causal: bool) -> Tensor:
    """Attention of rows (B, L, W) over rows (B, T, W) by heads of equal width."""
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key, value))
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    if causal:
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(ahead, -torch.inf)
    return (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)

"""CLOSE for pairs: does an image bear out a sentence? Learnt on pairs of sentences, as visual entailment from SNLI.

Gu et al., arXiv:2211.09778: the premise is a text in training and an image at test; noise is on the premise alone. Ours
is a small head on u, the premise or image, and v = n(g(hypothesis)):
    learn:   CE(h([u~, v, u~ v, |u~ - v|]), verdict)
    answer:  softmax h([n(f), v, n(f) v, |n(f) - v|])      of an image with each hypothesis in the options

Departure: the paper tunes a T5 on soft tokens of the premise and the words of the hypothesis.
"""

import dataclasses
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.adapted_towers import MethodSpec
from adaptkit.contract.head import Answer, Head
from adaptkit.contract.registry import register_head
from adaptkit.heads.close.adapters import unit
from adaptkit.heads.close.classifier import check_names
from adaptkit.heads.close.transfer import Transfer, TransferOptions, layers, spread
from adaptkit.layers.full_precision import run_as
from adaptkit.options import option, options


@options
class ClosePairsConfig(TransferOptions):
    """Options of the head for pairs."""

    verdicts: tuple[str, ...] = option(
        ("entailment", "neutral", "contradiction"), "Names of the verdicts in the order of their labels.", filled=True
    )
    hypotheses: tuple[str, ...] = option(
        ("This is a photo.", "This is a drawing."), "Sentences that an answer judges an image by.", filled=True
    )
    hidden: int = option(256, "Width of the hidden layer; 0 for a linear head.", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names("verdicts", self.verdicts)
        check_names("hypotheses", self.hypotheses)


def pair_inputs(u: Tensor, v: Tensor) -> Tensor:
    """Unit rows u and v (..., D) -> [u, v, u v, |u - v|] (..., 4 D), each times sqrt(D)."""
    u, v = spread(u), spread(v)
    return torch.cat([u, v, u * v, (u - v).abs()], dim=-1)


@register_head("close_pairs", ClosePairsConfig, touches="after")
class ClosePairs(Head):
    """Frozen image features (B, D) -> logits (B, H, V) of the verdicts on each of the H hypotheses."""

    consumes = "features"

    def __init__(self, backbone: FrozenCLIP, config: ClosePairsConfig):
        super().__init__(backbone)
        self.config = config
        self.hypotheses = backbone.keep_text(partial(backbone.encode_text, list(config.hypotheses)))
        self.transfer = Transfer(config, backbone.embed_dim)
        self.layers = layers(4 * backbone.embed_dim, config.hidden, len(config.verdicts))
        self.to(backbone.device)

    def with_hypotheses(self, *hypotheses: str) -> "ClosePairs":
        """A head with what this one has learnt, for other sentences.

        Raises:
            ValueError: if there is none, or one stands twice.
        """
        config = dataclasses.replace(self.config, hypotheses=hypotheses)
        other = ClosePairs(self.backbone, config)
        other.load_learnt_state(self.learnt_state())
        other.spec = None if self.spec is None else MethodSpec(self.spec.name, config)
        return other.train(self.training)

    def outputs(self, x: Tensor) -> Tensor:
        """Frozen image features (B, D) -> logits (B, H, V)."""
        u = self.transfer.of_images(x)[:, None]  # (B, 1, D)
        v = unit(self.hypotheses().to(u))[None]  # (1, H, D)
        u, v = torch.broadcast_tensors(u, v)  # (B, H, D)
        return run_as(self.layers, pair_inputs(u, v))

    def mixed_loss(self, x: Tensor, targets: Tensor, is_image: Tensor) -> Tensor:
        """Cross-entropy of premises beside hypotheses (B, 2, D) and verdicts (B,).

        Args:
            is_image: (B,), which premises are images; hypotheses always are texts.
        """
        u = self.transfer.of_mixed(x[:, 0], is_image)
        return F.cross_entropy(run_as(self.layers, pair_inputs(u, unit(x[:, 1].to(u)))), targets)

    def loss(self, x: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of image features (B, D) and the verdicts (B, H) on the hypotheses in the options."""
        return F.cross_entropy(self.outputs(x).flatten(0, 1), targets.flatten())

    def learnt_state(self) -> dict[str, Tensor]:
        """The layers, and what the adapter has estimated or drawn."""
        return self.training_state()

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        self.load_training_state(state)

    def described(self, outputs: Tensor) -> list[Answer]:
        """Of each hypothesis the verdict and the probabilities of all verdicts."""
        names = self.config.verdicts
        return [
            {
                hypothesis: {
                    "verdict": names[max(range(len(names)), key=row.__getitem__)],
                    "probabilities": dict(zip(names, row, strict=True)),
                }
                for hypothesis, row in zip(self.config.hypotheses, rows, strict=True)
            }
            for rows in outputs.float().softmax(dim=-1).tolist()
        ]

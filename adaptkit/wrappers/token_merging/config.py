"""The options of token merging."""

from typing import Literal

from adaptkit.options import option, options
from adaptkit.wrappers.token_merging.tower import Average

Mode = Literal["merge", "prune", "fold"]


@options
class TokenMergingConfig:
    mode: Mode = option(
        "merge",
        'Merge similar tokens in every block ("merge"), drop the patches that get little attention at a few blocks '
        '("prune"), or merge each of those into the most similar patch that is kept ("fold").',
    )
    r: int = option(
        8,
        "Tokens that each block merges, of a block with few tokens half of its patches at most; 0 merges none.",
        least=0,
    )
    inflect: float = option(
        0.0, "The slope of r over the blocks: -1 falls from 2 r to 0, 0 is constant, 1 rises to 2 r.", least=-1, most=1
    )
    r_per_block: tuple[int, ...] = option(
        (), "Tokens that each of the first blocks merges, and later ones none, instead of r and inflect.", least=0
    )
    average: Average = option(
        "sized", "Averages weighted by how many tokens each stands for, or plain means of the tokens that meet."
    )
    proportional: bool = option(
        True, "Whether a merged token counts in attention as often as tokens were merged into it."
    )
    prune_at: tuple[int, ...] = option(
        (),
        "Blocks at which patches are dropped, in ascending order; empty takes a quarter and half of the depth.",
        least=0,
    )
    keep: tuple[float, ...] = option(
        (0.5, 0.5), "The share of its patches that each of those blocks keeps for their attention.", least=0, most=1
    )
    grid_stride: int = option(
        3, "The first of those blocks also keeps the patches of every so-many-th row and column; 0 keeps none.", least=0
    )
    in_training: bool = option(True, "Whether training runs on the fewer tokens too; if not, only evaluation does.")

    def __post_init__(self) -> None:
        if self.prune_at and len(self.prune_at) != len(self.keep):
            raise ValueError(
                f"prune_at={self.prune_at} and keep={self.keep}; give a share for each block that drops patches"
            )
        if not self.keep or (not self.prune_at and len(self.keep) > 2):
            raise ValueError(
                f"keep={self.keep} without prune_at; give one or two shares, or name the blocks in prune_at"
            )
        if list(self.prune_at) != sorted(set(self.prune_at)):
            raise ValueError(f"prune_at={self.prune_at}; name each block once, in ascending order")

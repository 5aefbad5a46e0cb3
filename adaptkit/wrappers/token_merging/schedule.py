"""How many tokens each block removes (Bolya et al., arXiv:2210.09461, as released).

A schedule (r, inflect) removes in block i of L
    int(lo + i (hi - lo) / (L - 1)),   lo = int(r (1 - inflect)),   hi = 2 r - lo
so r in all blocks with inflect 0; -1 falls from 2 r to 0, and 1 rises from 0 to 2 r. A list is filled up with zeros.
"""

from collections.abc import Sequence


def linear_schedule(r: int, inflect: float, depth: int) -> tuple[int, ...]:
    """Tokens that each of `depth` blocks removes, from r a block on average and a slope."""
    lo = int(r * (1 - inflect))
    step = (2 * r - 2 * lo) / max(depth - 1, 1)
    return tuple(int(lo + step * block) for block in range(depth))


def listed_schedule(counts: Sequence[int], depth: int) -> tuple[int, ...]:
    """Tokens that each of `depth` blocks removes, from those of the first blocks.

    Raises:
        ValueError: if there are more than blocks.
    """
    if len(counts) > depth:
        raise ValueError(
            f"r_per_block={tuple(counts)} has {len(counts)} entries, and the image tower has {depth} blocks; give one "
            "number for each block, or fewer, which are filled up with zeros"
        )
    return (*counts, *[0] * (depth - len(counts)))


def tokens_per_block(counts: Sequence[int], tokens: int, protected: int) -> tuple[int, ...]:
    """Tokens behind each block: no block removes more than half of the unprotected ones."""
    left = []
    for count in counts:
        tokens -= min(count, (tokens - protected) // 2)
        left.append(tokens)
    return tuple(left)

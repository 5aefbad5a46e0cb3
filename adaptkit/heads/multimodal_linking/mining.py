"""Hard negatives: for each record the nearest ones of other groups, and batches in which they meet.

Departure: released CLIPPINGS mines once, before training, on one record per label, and counts the record itself among
    its k = 3 neighbours. Ours mines on all records, never takes a record's own group, and may mine again later.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def hard_negatives(vectors: Tensor, groups: Tensor, k: int = 3, chunk: int = 512) -> Tensor:
    """For each record the nearest record of each of the k nearest other groups: places (N, k), the nearest first.

    Where there are fewer other groups, there are fewer columns.

    Args:
        vectors: (N, D), not normalised.
        groups: (N,) int64.

    Raises:
        ValueError: if k is less than 1, or there is only one group.

    Example:
        ```python
        import torch

        from adaptkit.heads.multimodal_linking import hard_negatives

        groups = torch.tensor([0, 0, 1, 2])
        negatives = hard_negatives(torch.randn(4, 8), groups, k=2)
        assert (groups[negatives] != groups[:, None]).all()
        ```
    """
    _, numbers, sizes = groups.unique(return_inverse=True, return_counts=True)
    if k < 1 or len(sizes) < 2:
        raise ValueError(f"k={k} negatives among {len(sizes)} groups; give k of 1 or more, and two groups or more")
    rows = F.normalize(vectors.float(), dim=1)
    found = []
    for places in torch.arange(len(rows), device=rows.device).split(chunk):
        similar = rows[places] @ rows.T  # (n, N)
        by_group = similar.new_full((len(places), len(sizes)), -torch.inf)
        by_group = by_group.scatter_reduce(1, numbers.expand_as(similar), similar, "amax")
        by_group.scatter_(1, numbers[places, None], -torch.inf)
        nearest = by_group.topk(min(k, len(sizes) - 1), dim=1).indices  # (n, k) groups
        found.append(
            torch.stack(
                [
                    similar.masked_fill(numbers[None, :] != group[:, None], -torch.inf).argmax(dim=1)
                    for group in nearest.unbind(dim=1)
                ],
                dim=1,
            )
        )
    return torch.cat(found)


def mined_batches(
    groups: Tensor, negatives: Tensor | None, batch_size: int, per_group: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Batches of places in which groups meet their hard negatives, for one epoch.

    Groups with two records or more come in random order. Each brings up to `per_group` of its records, drawn anew, and
    as many of the groups that `negatives` has of one of its records; a group comes once in a batch.

    Args:
        groups: (N,) int64.
        negatives: (N, k) places of records of other groups, of `hard_negatives`; None for groups in random order alone.
        batch_size: records; a batch ends with the group that makes it as many.
        per_group: records of a group in a batch, 2 or more, so that each has a partner.

    Raises:
        ValueError: if `per_group` is less than 2, or no group has two records.
    """
    _, numbers = groups.cpu().unique(return_inverse=True)
    members = [(numbers == group).nonzero()[:, 0] for group in range(int(numbers.max()) + 1)] if len(numbers) else []
    seeds = [group for group, own in enumerate(members) if len(own) > 1]
    if per_group < 2 or not seeds:
        raise ValueError(
            f"per_group={per_group} with {len(seeds)} groups of two records or more; give 2 or more, and one such group"
        )
    batch: list[Tensor] = []
    inside: set[int] = set()
    for seed in (seeds[place] for place in torch.randperm(len(seeds), generator=generator).tolist()):
        drawn = _drawn(members[seed], 1, generator)
        near = [] if negatives is None else numbers[negatives.cpu()[drawn[0]]].tolist()
        for group in (seed, *near):
            if group not in inside:
                inside.add(group)
                batch.append(_drawn(members[group], per_group, generator))
        if sum(map(len, batch)) >= batch_size:
            yield torch.cat(batch)
            batch, inside = [], set()
    if len(inside) > 1:
        yield torch.cat(batch)


def _drawn(places: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return places[torch.randperm(len(places), generator=generator)[:count]]

"""Train a head that links records, and its matcher of tokens, on what the frozen towers have computed once: seconds.

CLIPPINGS (arXiv:2304.03464): supervised contrastive loss on batches in which groups meet their hard negatives; the
epoch with the best adjusted Rand index on validation records stays.

Departure: released code mines hard negatives once and lets both towers learn, at most 1,000 epochs; here towers are
    frozen, and hard negatives are mined in every epoch by the vectors as they are then.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from adaptkit import FrozenCLIP
from adaptkit.heads import MultimodalLinking
from adaptkit.heads.multimodal_linking import (
    RecordFeatures,
    RecordTokens,
    group_numbers,
    hard_negatives,
    matching_cross_entropy,
    mined_batches,
    tune_threshold,
)
from adaptkit.layers.image_texts import fit_texts
from adaptkit.options import option, options
from datasets_fewshot.pairs.link_records import LinkRecord, RecordSet
from trainers.bounds import MOST_SEED
from trainers.compute.seeds import seeded

BATCH = 128  # records that are encoded together
EVERY_EPOCH: Literal["every_epoch"] = "every_epoch"


@options
class LinkTraining:
    """How a head and its matcher are trained: AdamW, the rate falling by a cosine to 0."""

    epochs: int = option(20, "Passes over the groups.", least=1)
    lr: float = option(1e-3, "AdamW's learning rate in the first epoch.", above=0)
    weight_decay: float = option(1e-2, "AdamW's; the weight of images has none.", least=0)
    batch_size: int = option(153, "Records of a step.", least=2)
    per_group: int = option(3, "Records of a group in a step, so that each has a partner.", least=2)
    hard_negatives: int = option(3, "Groups near to a group that come into its step with it; 0 for none.", least=0)
    mining: Literal["every_epoch", "once"] = option(
        EVERY_EPOCH, "Hard negatives are mined in every epoch, or once before the first as released."
    )
    seed: int = option(
        1, "Of the order of groups, of records drawn and of dropped modalities.", least=0, most=MOST_SEED
    )


@dataclass(frozen=True)
class LinkLog:
    """What a training went through; at place 0 of `validation` is the head before it."""

    losses: tuple[float, ...]  # the mean of each epoch
    validation: tuple[float, ...]  # adjusted Rand index on validation records, at the best threshold of each
    kept: int  # epochs that the head which was kept has seen


@torch.no_grad()
def encode_records(backbone: FrozenCLIP, records: Sequence[LinkRecord], where: RecordSet) -> RecordFeatures:
    """Frozen features of records.

    Raises:
        ValueError: if an image cannot be read, or there are no records.
    """
    if not records:
        raise ValueError(f"{where.name} has no records in this part; see `adaptkit link --help` for what a table needs")
    image = torch.zeros(len(records), backbone.embed_dim, dtype=backbone.dtype, device=backbone.device)
    text = image.clone()
    has_image = torch.tensor([bool(record.path) for record in records])
    has_text = torch.tensor([bool(record.text) for record in records])
    for places in has_image.nonzero()[:, 0].split(BATCH):
        pixels = torch.stack([backbone.preprocess(where.load(records[place])) for place in places.tolist()])
        image[places] = backbone.encode_image(pixels.to(backbone.device))
    for places in has_text.nonzero()[:, 0].split(BATCH):
        words = fit_texts([records[place].text for place in places.tolist()], backbone.tokenizer)
        text[places] = backbone.encode_text(words)
    return RecordFeatures(image, text, has_image.to(backbone.device), has_text.to(backbone.device))


def encode_part(backbone: FrozenCLIP, records: Sequence[LinkRecord], where: RecordSet) -> tuple[RecordFeatures, Tensor]:
    """Frozen features of records, and their groups as numbers (N,)."""
    return encode_records(backbone, records, where), group_numbers([record.group for record in records])


@torch.no_grad()
def encode_record_tokens(head: MultimodalLinking, records: Sequence[LinkRecord], where: RecordSet) -> RecordTokens:
    """Tokens of records in the joint space, for the head's matcher; all are kept in memory.

    Raises:
        ValueError: if an image cannot be read, or the towers give no tokens.
    """
    height, width = head.backbone.preprocess_cfg.image_size
    parts = []
    for start in range(0, len(records), BATCH):
        some = records[start : start + BATCH]
        images = torch.zeros(len(some), 3, height, width)
        for place, record in enumerate(some):
            if record.path:
                images[place] = head.backbone.preprocess(where.load(record))
        has_image = torch.tensor([bool(record.path) for record in some])
        has_text = torch.tensor([bool(record.text) for record in some])
        parts.append(head.tokens_of(images, [record.text for record in some], has_image, has_text))
    return RecordTokens.joined(parts)


def train_linking(
    head: MultimodalLinking,
    records: RecordFeatures,
    groups: Tensor,
    val: RecordFeatures,
    val_groups: Tensor,
    settings: LinkTraining,
) -> LinkLog:
    """Train a head, keep its best epoch on validation records, or its start, and set the threshold that suits them.

    Args:
        groups: (N,) int64 of the records; those of `val` are other groups.

    Raises:
        ValueError: if no group has two records, in either part.
        ArithmeticError: if the loss is not finite.
    """
    check_linkable(groups, "training")
    check_linkable(val_groups, "validation")
    records, groups = records.to(head.device), groups.to(head.device)
    optimizer = _optimizer(head, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    head.eval()
    validation, losses, best, kept = [_ari(head, val, val_groups)], [], head.learnt_state(), 0
    negatives = None
    with seeded(settings.seed, head.device):
        for epoch in range(settings.epochs if optimizer is not None else 0):
            assert optimizer is not None
            if settings.hard_negatives and (negatives is None or settings.mining == EVERY_EPOCH):
                with torch.no_grad():
                    negatives = hard_negatives(head.vectors(records), groups, settings.hard_negatives)
            _set_rate(optimizer, settings, epoch)
            head.train()
            steps = []
            for places in mined_batches(groups, negatives, settings.batch_size, settings.per_group, generator):
                loss = head.records_loss(records.at(places), groups[places.to(groups.device)])
                steps.append(_step(optimizer, loss))
            head.eval()
            losses.append(_mean(steps, epoch))
            validation.append(_ari(head, val, val_groups))
            if validation[-1] > max(validation[:-1]):
                best, kept = head.learnt_state(), epoch + 1
    head.load_learnt_state(best)
    with torch.no_grad():
        head.set_threshold(tune_threshold(head.vectors(val), val_groups.to(head.device)).threshold)
    return LinkLog(tuple(losses), tuple(validation), kept)


def train_matcher(head: MultimodalLinking, tokens: RecordTokens, groups: Tensor, settings: LinkTraining) -> list[float]:
    """Train the head's matcher on pairs of records of a group among pairs of others; returns each epoch's mean loss.

    Records that lack their image or their text are left out. The contrast on raw class tokens has nothing to teach
    where towers are frozen, so the loss is the cross-entropies alone.

    Args:
        tokens: of the records; groups: (N,) int64.

    Raises:
        ValueError: if the head has no matcher, or no group has two complete records.
        ArithmeticError: if the loss is not finite.
    """
    if head.matcher is None:
        raise ValueError("the head has no matcher; make it with tokens=True")
    complete = torch.ones(len(tokens), dtype=torch.bool)
    for mark in (tokens.has_text, tokens.has_image):
        complete = complete if mark is None else complete & mark.cpu()
    tokens, groups = tokens.at(complete.nonzero()[:, 0].to(tokens.text_cls.device)), groups.cpu()[complete]
    check_linkable(groups, "training of the matcher")
    optimizer = torch.optim.AdamW(head.matcher.parameters(), lr=settings.lr, eps=1e-4, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(settings.seed)
    negatives = hard_negatives(tokens.text_cls + tokens.image_cls, groups.to(tokens.text_cls.device)).cpu()
    head.matcher.train()
    losses = []
    for epoch in range(settings.epochs):
        _set_rate(optimizer, settings, epoch)
        steps = []
        for places in mined_batches(groups, negatives, settings.batch_size, 2, generator):
            first, second = _partners(places, groups)
            if len(first) > 1:
                scores = head.matcher(tokens.at(first), tokens.at(second))
                steps.append(_step(optimizer, matching_cross_entropy(scores)))
        losses.append(_mean(steps, epoch))
    head.matcher.eval()
    return losses


def check_linkable(groups: Tensor, what: str) -> None:
    """Refuse records of which none has a partner.

    Raises:
        ValueError: names the part.
    """
    sizes = groups.unique(return_counts=True)[1]
    if not (sizes > 1).any() or len(sizes) < 2:
        raise ValueError(
            f"of {len(groups)} records for {what} in {len(sizes)} groups none can be linked, or all can; give two "
            "groups or more, one of them with two records"
        )


def _partners(places: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Of a batch of places the two of each group that has two: (B,) and (B,)."""
    by_group: dict[int, list[int]] = {}
    for place in places.tolist():
        by_group.setdefault(int(groups[place]), []).append(place)
    pairs = torch.tensor([own for own in by_group.values() if len(own) == 2], dtype=torch.long).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _optimizer(head: MultimodalLinking, settings: LinkTraining) -> torch.optim.Optimizer | None:
    """AdamW over all that learns but the matcher; None where nothing does."""
    learnt = {n: p for n, p in head.learnt_parameters().items() if not n.startswith("matcher.")}
    decayed = [parameter for name, parameter in learnt.items() if name not in head.undecayed()]
    rest = [parameter for name, parameter in learnt.items() if name in head.undecayed()]
    if not learnt:
        return None
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.lr)


def _set_rate(optimizer: torch.optim.Optimizer, settings: LinkTraining, epoch: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = settings.lr * (1 + math.cos(math.pi * epoch / settings.epochs)) / 2


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def _mean(steps: Sequence[Tensor], epoch: int) -> float:
    mean = float(torch.stack(list(steps)).mean()) if steps else 0.0
    if not math.isfinite(mean):
        raise ArithmeticError(f"the loss is {mean} in epoch {epoch + 1}; lower the learning rate")
    return mean


@torch.no_grad()
def _ari(head: MultimodalLinking, records: RecordFeatures, groups: Tensor) -> float:
    return tune_threshold(head.vectors(records), groups.to(head.device)).score

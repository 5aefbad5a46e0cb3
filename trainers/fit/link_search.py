"""Records of a table that an image, a text or both are linked to, by a head's vectors and its matcher."""

from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.contract.images import ImageLike, prepared
from adaptkit.heads import MultimodalLinking
from adaptkit.heads.multimodal_linking import Link, PooledIndex, RecordFeatures, matcher_scores, records_of, reranked
from datasets_fewshot.pairs.link_records import RecordSet
from trainers.fit.link_protocol import SHORTLIST
from trainers.fit.linking import encode_record_tokens, encode_records


@dataclass(frozen=True)
class Asked:
    """What is looked for: an image, a text or both."""

    image: ImageLike | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        if self.image is None and self.text is None:
            raise ValueError("nothing is looked for; give --image, --text or both")


def index_of(head: MultimodalLinking, records: RecordSet) -> PooledIndex:
    """The records of all parts in one index, by name.

    Raises:
        ValueError: if an image cannot be read.
    """
    index = PooledIndex(head.vectors)
    index.add(encode_records(head.backbone, records.all, records), [record.name for record in records.all])
    return index


def linked(
    head: MultimodalLinking, records: RecordSet, asked: Asked, top: int, threshold: float | None = None
) -> list[Link]:
    """The nearest records, at most `top` and no farther than the threshold; ranked again where the head has a matcher.

    Raises:
        ValueError: if an image cannot be read.
    """
    index = index_of(head, records)
    (links,) = index.link(_features(head, asked), top if head.matcher is None else max(top, SHORTLIST), threshold)
    if head.matcher is not None and len(links) > 1:
        known = encode_record_tokens(head, [records.all[link.place] for link in links], records)
        size = head.backbone.preprocess_cfg.image_size
        image = torch.zeros(3, *size) if asked.image is None else prepared(head, asked.image)
        marks = (torch.tensor([asked.image is not None]), torch.tensor([asked.text is not None]))
        query = head.tokens_of(image[None], [asked.text or ""], *marks)
        scores = matcher_scores(head.matcher, query, known, _row(range(len(links)), head).long())
        similar = _row([1 - link.distance for link in links], head)
        links = [links[place] for place in reranked(similar, scores, float(head.rerank_weight))[0].tolist()]
    return links[:top]


@torch.no_grad()
def _features(head: MultimodalLinking, asked: Asked) -> RecordFeatures:
    image = None if asked.image is None else head.consume(prepared(head, asked.image)[None].to(head.device))
    return records_of(image, None if asked.text is None else head.encode_texts([asked.text]))


def _row(values: "list[float] | range", head: MultimodalLinking) -> Tensor:
    return torch.tensor([list(values)], device=head.device)

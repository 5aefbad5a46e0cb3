"""MMVP-VLM: two images that CLIP takes for alike and a statement about each, which has to choose its own image.

Tong et al., "Eyes Wide Shut? Exploring the Visual Shortcomings of Multimodal LLMs", arXiv:2401.06209. As the released
code computes it (tsb0601/MMVP, scripts/evaluate_vlm.py):
    p_k = softmax over the two images of 100 <f(x), g(y_k)>;   statement k chooses image 1 if p_k > 1/2, else image 2
A tie goes to image 2, the pattern of a pair is told by its place, and a pattern's score is the percentage of its pairs
of which both statements choose their own image. A model that chooses at random gets 25 %.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.evaluation.pair_tests.cosines import checked, cosine
from trainers.evaluation.pair_tests.groups import group_outcomes
from trainers.evaluation.retrieval import TIE

SCALE = 100.0  # of cosines in the softmax


@dataclass(frozen=True)
class MMVPScores:
    """Outcomes of P pairs in K patterns."""

    probabilities: Tensor  # (P, 2) of image 1, given statement 1 and statement 2
    picks_image1: Tensor  # (P, 2) bool
    pair_correct: Tensor  # (P,) bool, both statements choose their own image
    images_correct: Tensor  # (P,) bool, both images choose their own statement; ties are errors
    pattern_score: Tensor  # (K,) percent
    mean_score: Tensor  # percent, the mean over patterns


@torch.no_grad()
def mmvp_scores(image_features: Tensor, text_features: Tensor, pairs_per_pattern: int = 15) -> MMVPScores:
    """Score pairs, two rows after the other each.

    Args:
        image_features: (2P, D), not normalised, in the order of the file: image 1 and image 2 of a pair, and so on.
        text_features: (2P, D), the statements' in the same order.
        pairs_per_pattern: how many pairs in a row are of one pattern.

    Raises:
        ValueError: if the rows do not make whole pairs and patterns, shapes differ, or a number is not finite.

    Example:
        ```python
        import torch
        from trainers.evaluation.pair_tests.mmvp import mmvp_scores

        perfect = torch.eye(60)
        assert mmvp_scores(perfect, perfect).mean_score == 100
        ```
    """
    images, texts = checked(
        "image_features", "text_features", image_features=image_features, text_features=text_features
    )
    rows, each = len(images), 2 * pairs_per_pattern
    if images.ndim != 2 or pairs_per_pattern < 1 or rows % each:
        raise ValueError(
            f"{rows} rows of {tuple(images.shape[1:])} do not make patterns of {pairs_per_pattern} pairs; give the "
            f"features of whole patterns, {each} rows each"
        )
    first, second = images[0::2, None], images[1::2, None]  # (P, 1, D)
    statements = texts.view(rows // 2, 2, -1)  # (P, 2, D)
    margin = cosine(first, statements) - cosine(second, statements)  # (P, 2) of image 1 over image 2
    picks = margin > TIE
    correct = picks[:, 0] & ~picks[:, 1]
    pattern = 100 * correct.double().view(-1, pairs_per_pattern).mean(dim=1)
    return MMVPScores(
        probabilities=torch.sigmoid(SCALE * margin),
        picks_image1=picks,
        pair_correct=correct,
        images_correct=group_outcomes(images.view(rows // 2, 2, -1), statements).text,
        pattern_score=pattern,
        mean_score=pattern.mean(),
    )

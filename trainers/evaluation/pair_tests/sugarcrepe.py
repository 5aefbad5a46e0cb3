"""SugarCrepe++: two captions of one meaning in different words, and a false caption that may look like the first.

Dumpala et al., "SUGARCREPE++ Dataset: Vision-Language Model Sensitivity to Semantic and Lexical Alterations",
arXiv:2406.11171. As the released code computes it (Sri-Harsha/scpp, VLMs/test_Variants_CLIP.py), with cosines of an
image x, the captions P1 and P2 and the false one N; inequalities are strict, so ties are errors:
    itt      <x, P1> > <x, N>  and  <x, P2> > <x, N>           chance 1/3
    p1_only  <x, P1> > <x, N>,  what SugarCrepe measures       chance 1/2; p2_only likewise
    tot      <P1, P2> > <P1, N>  and  <P1, P2> > <P2, N>       chance 1/3, without an image
"""

import torch
from torch import Tensor

from trainers.evaluation.pair_tests.cosines import beats, checked, cosine


@torch.no_grad()
def sugarcrepe_outcomes(image: Tensor, caption: Tensor, caption2: Tensor, negative: Tensor) -> dict[str, Tensor]:
    """Whether each item is right: metric -> (N,) bool for itt, p1_only, p2_only and tot.

    Args:
        image: features (N, D), not normalised; of `caption`, `caption2` and `negative` likewise.

    Raises:
        ValueError: if shapes differ, or a number is not finite.
    """
    features = {"image": image, "caption": caption, "caption2": caption2, "negative": negative}
    x, p1, p2, n = checked(*features, **features)
    first, second = beats(cosine(x, p1), cosine(x, n)), beats(cosine(x, p2), cosine(x, n))
    same = cosine(p1, p2)
    return {
        "itt": first & second,
        "p1_only": first,
        "p2_only": second,
        "tot": beats(same, cosine(p1, n)) & beats(same, cosine(p2, n)),
    }


def sugarcrepe_scores(image: Tensor, caption: Tensor, caption2: Tensor, negative: Tensor) -> dict[str, float]:
    """The share of right items from 0 to 1 of each metric; arguments and errors are those of `sugarcrepe_outcomes`.

    Example:
        ```python
        import torch
        from trainers.evaluation.pair_tests.sugarcrepe import sugarcrepe_scores

        image, negative = torch.eye(4), torch.eye(4).roll(1, 0)
        assert sugarcrepe_scores(image, image, image, negative)["itt"] == 1
        ```
    """
    outcomes = sugarcrepe_outcomes(image, caption, caption2, negative)
    return {name: float(right.double().mean()) for name, right in outcomes.items()}

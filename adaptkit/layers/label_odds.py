"""Several labels per image: targets of 0 and 1, their loss on independent scores, and logits as log odds of each label.

A softmax does not change when a number is added to all logits, so those of a classifier say nothing of one label alone.
With one scale a > 0 for all labels and one bias b_c for each, a z_c + b_c are log odds, after Platt, "Probabilistic
Outputs for Support Vector Machines and Comparisons to Regularized Likelihood Methods" (1999):
    minimise over a, b:   sum_ic BCE(sigmoid(a z_ic + b_c), t_ic)
    t = (n + 1) / (n + 2) for an image that has the label, of n that do, and 1 / (m + 2) for one of m that do not
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_STEPS = 200  # of L-BFGS
SCALES = (0.1, 10.0)  # bounds of a: logits that say nothing yet still have a gradient


def as_targets(labels: Tensor, n_labels: int) -> Tensor:
    """Labels (B,) int64 of one class each, or (B, C) of 0 and 1 -> targets (B, C), at least fp32."""
    if labels.ndim == 1:
        labels = F.one_hot(labels, n_labels)
    return labels.to(torch.promote_types(labels.dtype, torch.float32))


def label_loss(
    logits: Tensor, targets: Tensor, gamma_positive: float = 0.0, gamma_negative: float = 0.0, margin: float = 0.0
) -> Tensor:
    """Binary cross-entropy of log odds (B, C) with targets (B, C): summed over labels, the mean over images.

    With the three numbers it is the asymmetric loss of Ridnik et al., "Asymmetric Loss For Multi-Label
    Classification", arXiv:2009.14119, for p = sigmoid(logits) and p_m = max(p - m, 0):
        L = -t (1 - p)^gamma_+ log p - (1 - t) p_m^gamma_- log(1 - p_m)

    Departure: as in the released code, no gradient flows through the factors (1 - p)^gamma_+ and p_m^gamma_-.
    """
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    if not (gamma_positive or gamma_negative or margin):
        return F.binary_cross_entropy_with_logits(logits, targets.to(logits), reduction="none").sum(dim=1).mean()
    p = logits.sigmoid()
    p_m = (p - margin).clamp(min=0)
    negative = (1 - p_m).clamp(min=torch.finfo(logits.dtype).tiny).log()
    with torch.no_grad():
        weight_positive, weight_negative = (1 - p) ** gamma_positive, p_m**gamma_negative
    terms = targets * weight_positive * F.logsigmoid(logits) + (1 - targets) * weight_negative * negative
    return -terms.sum(dim=1).mean()


def platt_targets(targets: Tensor) -> Tensor:
    """Targets (N, C) of 0 and 1 -> those of Platt's fit, which stay away from 0 and 1 by what N images can say."""
    with_label = targets.sum(dim=0)
    high, low = (with_label + 1) / (with_label + 2), 1 / (len(targets) - with_label + 2)
    return torch.where(targets > 0.5, high, low)


@torch.enable_grad()
def fit_log_odds(logits: Tensor, targets: Tensor) -> tuple[float, Tensor]:
    """Fit logits (N, C) with targets (N, C) -> a, and b (C,) float64, for which a z + b are log odds.

    A label that no image has, or that all have, gets odds that its number of images can stand for.

    Raises:
        ValueError: if there are no images, or a logit is not finite.
    """
    if not len(logits) or not logits.isfinite().all():
        raise ValueError(f"{tuple(logits.shape)} logits cannot be made log odds; expected finite ones of some images")
    z, t = logits.detach().double(), platt_targets(targets.detach().double())
    mean, deviation = z.mean(), z.std(unbiased=False).clamp(min=1e-12)
    z = (z - mean) / deviation
    least, most = (float(deviation) * bound for bound in SCALES)
    log_scale = z.new_tensor(min(max(1.0, least), most)).log().requires_grad_()
    bias = t.mean(dim=0).logit().clone().requires_grad_()  # (C,)
    solver = torch.optim.LBFGS([log_scale, bias], max_iter=MAX_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        scale = log_scale.exp().clamp(least, most)
        loss = F.binary_cross_entropy_with_logits(scale * z + bias, t)
        loss.backward()
        return loss

    solver.step(closure)
    scale = float(log_scale.detach().exp().clamp(least, most) / deviation)
    return scale, bias.detach() - scale * mean

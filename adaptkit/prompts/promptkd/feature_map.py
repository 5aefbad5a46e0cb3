"""The map from a student's image features into its teacher's space: linear, batch norm, ReLU, linear."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.layers.full_precision import at_least_fp32, run_as


class FeatureMap(nn.Module):
    """Image features (B, D) -> features (B, D_t) in the teacher's space, in fp32 or better.

    In training mode the batch norm takes the statistics of the batch, so that an image's feature depends on the others
    beside it; in eval mode it takes their running averages, which are learnt without a gradient. The bias in front of
    it has no gradient either: the norm takes any constant away.

    Departure: one image has no statistics, and the released code fails on it; here one that is left over at the end of
        an epoch is normalised by the running averages and leaves them as they are.

    Args:
        dim: the width D.
        teacher_dim: the width D_t.
    """

    def __init__(self, dim: int, teacher_dim: int, device: torch.device | None = None):
        super().__init__()
        self.inner = nn.Linear(dim, teacher_dim, device=device)
        self.norm = nn.BatchNorm1d(teacher_dim, device=device)
        self.outer = nn.Linear(teacher_dim, teacher_dim, device=device)

    def forward(self, image_features: Tensor) -> Tensor:
        """Map features.

        Raises:
            ValueError: if it is training and its first batch has one image.
        """
        with torch.autocast(image_features.device.type, enabled=False):
            hidden = run_as(self.inner, at_least_fp32(image_features))  # (B, D_t)
            return run_as(self.outer, F.relu(self._normalise(hidden)))

    def _normalise(self, hidden: Tensor) -> Tensor:
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        by_batch = self.training and len(hidden) > 1
        if self.training and len(hidden) == 1 and not int(norm.num_batches_tracked):
            raise ValueError(
                "promptkd learns from a batch of 1 image, and its batch norm needs the statistics of several; take "
                "OPTIM.BATCH_SIZE 2 or more (the paper: 8)"
            )
        # Of the same type these are the buffers themselves; `.half()` has made them too short to average in.
        mean, variance = norm.running_mean.to(hidden.dtype), norm.running_var.to(hidden.dtype)
        gain, bias = norm.weight.to(hidden.dtype), norm.bias.to(hidden.dtype)
        normed = F.batch_norm(hidden, mean, variance, gain, bias, by_batch, norm.momentum or 0.0, norm.eps)
        if by_batch:
            with torch.no_grad():
                if mean is not norm.running_mean:
                    norm.running_mean.copy_(mean)
                    norm.running_var.copy_(variance)
                norm.num_batches_tracked.add_(1)
        return normed

    def averages(self) -> dict[str, Tensor]:
        """What is learnt without a gradient, by name: the running mean and variance (D_t,)."""
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        return {"norm.running_mean": self.norm.running_mean, "norm.running_var": self.norm.running_var}

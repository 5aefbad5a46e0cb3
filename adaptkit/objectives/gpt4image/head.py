"""The head that takes the feature of an image model to the space of the texts, where it is not in it already.

    resnet    Linear(in, hidden, no bias) - BatchNorm - ReLU - Linear(hidden, out)
    deit      Linear(in, hidden) - ReLU - Linear(hidden, out)
    linear    Linear(in, out, no bias)
`hidden` is 2 * out in the released code. A head is trained beside the model and dropped at test time.
"""

from typing import Literal

import torch
from torch import nn

Form = Literal["resnet", "deit", "linear"]


def build_head(form: Form, width: int, out: int, hidden: int = 0, *, gelu: bool = False) -> nn.Sequential:
    """A fresh head from features (B, width) to vectors (B, out).

    Args:
        hidden: width between the two layers; 0 is 2 * out, as released.
        gelu: GELU instead of ReLU, an option of the released code.
    """
    hidden, act = hidden or 2 * out, nn.GELU() if gelu else nn.ReLU()
    if form == "linear":
        return nn.Sequential(nn.Linear(width, out, bias=False))
    if form == "deit":
        return nn.Sequential(nn.Linear(width, hidden), act, nn.Linear(hidden, out))
    return nn.Sequential(nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), act, nn.Linear(hidden, out))


def recorded_optimizer(form: Form, *modules: nn.Module, lr: float | None = None) -> torch.optim.Optimizer:
    """The optimiser of the released code for modules that are trained together.

    Args:
        form: resnet and linear: SGD at rate 0.1 with momentum 0.9 and weight decay 1e-4 on everything; deit: AdamW at
            rate 1e-3 with weight decay 0.05 on matrices alone.
        lr: another rate.
    """
    learnt = [parameter for module in modules for parameter in module.parameters()]
    if form != "deit":
        return torch.optim.SGD(learnt, lr=0.1 if lr is None else lr, momentum=0.9, weight_decay=1e-4)
    groups = [
        {"params": [parameter for parameter in learnt if parameter.ndim > 1], "weight_decay": 0.05},
        {"params": [parameter for parameter in learnt if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-3 if lr is None else lr, betas=(0.9, 0.999))

"""The frozen weights below PEFT's layers.

They are the backbone's own memory, except below a layer whose initialisation takes its start out of the weights
(PiSSA, OLoRA):
    W x  =  (W - s B_0 A_0) x + s B A x    at the start, where A = A_0 and B = B_0
There the frozen weight is W - s B_0 A_0, and A_0 and B_0 are kept, because some are drawn at random and others come
from decompositions whose signs differ between machines.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adaptkit.layers.split_towers import Tie

ADAPTER = "default"  # PEFT's name of the only adapter.
TOLERANCE = 1e-3  # Relative error of the start that PEFT took out of the weights; half precision is coarser.
HALF_TOLERANCE = 3e-2


class Start(nn.Module):
    """What a LoRA layer started from: A_0 (r, I) and B_0 (O, r)."""

    A: Tensor
    B: Tensor

    def __init__(self, layer: nn.Module):
        super().__init__()
        (self.scale,) = layer.scaling.values()  # type: ignore[operator]
        (a,), (b,) = layer.lora_A.values(), layer.lora_B.values()  # type: ignore[operator]
        self.register_buffer("A", a.weight.detach().clone())
        self.register_buffer("B", b.weight.detach().clone())

    def rest(self, weight: Tensor) -> Tensor:
        """W - s B_0 A_0 (O, I), in the dtype of W."""
        return (weight.to(self.A.dtype) - self.scale * (self.B @ self.A)).to(weight.dtype)


class Bases(nn.Module):
    """Keeps the frozen weights of PEFT's layers equal to the backbone's, less what the layers started from.

    Args:
        ties: the weights that PEFT's layers have of the backbone, on memory of their own, as PEFT has left them.
        layers: the modules that PEFT has changed.
        tuner: PEFT's name of the tuner, for the error message.

    Raises:
        ValueError: if the initialisation changed a weight otherwise than by the start of a LoRA layer.
    """

    def __init__(self, ties: Sequence[Tie], layers: nn.Module, tuner: str):
        super().__init__()
        self.ties = list(ties)
        self.starts = nn.ModuleDict()
        paths = {id(module): path for path, module in layers.named_modules()}
        self.start_of: dict[int, str] = {}  # Number of a tie -> name of its start.
        for number, tie in enumerate(self.ties):
            weight = tie.own_weight()
            if weight is None or weight.requires_grad or torch.equal(weight, tie.weight()):
                continue
            path = paths[id(tie.own)].removesuffix(".base_layer")
            layer = layers.get_submodule(path)
            if tie.name != "weight" or not isinstance(tie.own, nn.Linear) or not hasattr(layer, "lora_A"):
                raise ValueError(f"{tuner} changes the frozen {path}.{tie.name} at its start, and cannot put it back")
            start = Start(layer)
            if not _is_near(start.rest(tie.weight()), weight):
                raise ValueError(
                    f"{tuner} starts {path} from weights that are not the backbone's less its own start, as quantised "
                    "ones; choose another init_lora_weights"
                )
            self.start_of[number] = name = path.replace(".", "_")
            self.starts[name] = start
        self.follow()

    def is_tied(self, tensor: Tensor) -> bool:
        """Whether a parameter is one of the frozen weights."""
        return any(tensor is tie.own_weight() for tie in self.ties)

    @torch.no_grad()
    def follow(self) -> None:
        """Take the frozen weights from the backbone as it is now."""
        for number, tie in enumerate(self.ties):
            own = tie.own_weight()
            if own is None or own.requires_grad:
                continue
            weight, name = tie.weight(), self.start_of.get(number)
            if name is not None:
                start = self.starts[name]
                assert isinstance(start, Start)
                weight = start.rest(weight)
            setattr(tie.own, tie.name, nn.Parameter(weight, requires_grad=False))


def _is_near(ours: Tensor, theirs: Tensor) -> bool:
    tolerance = HALF_TOLERANCE if theirs.dtype in (torch.float16, torch.bfloat16) else TOLERANCE
    return bool((ours.float() - theirs.float()).norm() <= tolerance * theirs.float().norm())

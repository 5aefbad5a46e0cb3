"""The words that the converters of Hugging Face's models share: settings and weights under open_clip's names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.backbone.huggingface_protocols import TowerConfig

State = dict[str, Tensor]


def tower_settings(config: TowerConfig) -> dict[str, object]:
    """open_clip's settings of a tower; both towers share them."""
    return {
        "width": config.hidden_size,
        "layers": config.num_hidden_layers,
        "mlp_ratio": config.intermediate_size / config.hidden_size,
        "act_kwargs": activation(config.hidden_act),
        "norm_kwargs": {"eps": config.layer_norm_eps},
    }


def activation(name: str) -> dict[str, str]:
    """Arguments of `nn.GELU`; QuickGELU, a class of its own, has none."""
    known: dict[str, dict[str, str]] = {"quick_gelu": {}, "gelu": {}, "gelu_pytorch_tanh": {"approximate": "tanh"}}
    if name not in known:
        raise ValueError(f"the activation {name!r} is none of open_clip's; a tower may have {', '.join(known)}")
    return known[name]


@dataclass(frozen=True)
class BlockNames:
    """What a library calls the parts of a residual block."""

    norm1: str
    norm2: str
    fc1: str
    fc2: str
    out: str
    qkv: str  # with the kind behind it, "weight" or "bias"


OPEN_CLIP = BlockNames("ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj", "attn.out_proj", "attn.in_proj_")
TIMM = BlockNames("norm1", "norm2", "mlp.fc1", "mlp.fc2", "attn.proj", "attn.qkv.")


def blocks(theirs: Mapping[str, Tensor], place: str, prefix: str, layers: int, names: BlockNames = OPEN_CLIP) -> State:
    """A tower's blocks under the names of another library's residual blocks."""
    state: State = {}
    for layer in range(layers):
        theirs_at, at = f"{place}.encoder.layers.{layer}", f"{prefix}.{layer}"
        for theirs_name, name in (
            ("layer_norm1", names.norm1),
            ("layer_norm2", names.norm2),
            ("mlp.fc1", names.fc1),
            ("mlp.fc2", names.fc2),
            ("self_attn.out_proj", names.out),
        ):
            state |= dict(renamed(theirs, f"{theirs_at}.{theirs_name}", f"{at}.{name}"))
        for kind in ("weight", "bias"):
            state[f"{at}.{names.qkv}{kind}"] = packed_qkv(theirs, theirs_at, kind)
    return state


def packed_qkv(theirs: Mapping[str, Tensor], block: str, kind: str) -> Tensor:
    """Query, key and value projections in one tensor: (3 D, D) or (3 D,)."""
    return torch.cat([theirs[f"{block}.self_attn.{part}_proj.{kind}"] for part in "qkv"])


def renamed(theirs: Mapping[str, Tensor], name: str, to: str) -> Iterator[tuple[str, Tensor]]:
    """Weight and bias of a layer under another name."""
    for kind in ("weight", "bias"):
        yield f"{to}.{kind}", theirs[f"{name}.{kind}"]


def preprocess_facts(size: int, mean: tuple[float, ...], std: tuple[float, ...], resize_mode: str) -> dict[str, object]:
    """Preprocessing of images in the released models of a family."""
    return {"size": size, "mean": mean, "std": std, "interpolation": "bicubic", "resize_mode": resize_mode}

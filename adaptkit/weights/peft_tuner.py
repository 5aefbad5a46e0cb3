"""PEFT's configs of layer tuners: read, checked, and put into modules, or refused with the reason."""

import json
from typing import TYPE_CHECKING

from torch import nn

from adaptkit.towers.linears import FrozenLinear
from adaptkit.weights.peft_limits import check_reach

if TYPE_CHECKING:  # The import takes seconds, and few users need it.
    import peft

# open_clip's names for packed query, key and value.
PACKED_LAYERS = {"attn", "in_proj", "in_proj_weight", "in_proj_bias"}
# Tuners that need what a method of CLIP does not have.
REFUSED = {
    "ADALORA": "it takes ranks away between the optimiser's steps, by a schedule that no method here has, and would "
    "train at its first rank for ever; use LORA with the rank that is to remain",
    "ADAPTION_PROMPT": "it learns prompts inside the attention of a LLaMA; use maple or ivlp",
    "CPT": "it learns the prompt of a causal language model; use coop",
    "POLY": "it chooses its skills by the number of a task, which images and texts do not have; use LORA",
    "SHADOW": "it runs a small network beside a language model's layers; use adapter",
    "TRAINABLE_TOKENS": "it learns rows of a token embedding, which stays out of PEFT's sight here; use coop",
    "XLORA": "it mixes LoRA adapters of a language model that were trained before; use LORA",
}
# Starts of LoRA that need more than the weights.
REFUSED_STARTS = {
    "eva": "from activations of the training images",
    "corda": "from covariances of activations",
    "lora_ga": "from gradients of the training images",
    "loftq": "from quantised weights",
}
WEIGHTS_ALONE = 'use true, "gaussian", "pissa", "olora" or "orthogonal", which need the weights alone'
# What PEFT's layers raise about layers and options that they cannot take.
PEFT_ERRORS = (ArithmeticError, AttributeError, ImportError, LookupError, RuntimeError, TypeError, ValueError)


def read_tuner(settings: str) -> "peft.PeftConfig":
    """The PEFT config of a layer tuner, ready to train.

    Raises:
        ValueError: if PEFT does not know the tuner, it does not tune layers, it cannot learn here, or it names layers
            that are packed here.
    """
    import peft

    content = json.loads(settings) | {"inference_mode": False}
    check_reach(content)
    kind = content["peft_type"]
    known = sorted(str(known.value) for known in peft.PeftType)
    if kind not in known:
        raise ValueError(f"peft_type {kind!r} is unknown to PEFT {peft.__version__}; known: {known}")
    if kind in REFUSED:
        raise ValueError(f"PEFT's {kind} cannot learn in CLIP's towers: {REFUSED[kind]}")
    _check_start(content)
    try:
        tuner = peft.get_peft_config(content)
    except (TypeError, ValueError) as error:
        raise ValueError(f"settings do not fit PEFT {peft.__version__}: {error}") from None
    if tuner.is_prompt_learning:
        raise ValueError(
            f"{kind} learns a language model's prompts, and CLIP's towers take none from PEFT; use coop, vpt or maple"
        )
    _check_targets(content)
    return tuner


def _check_start(content: dict[str, object]) -> None:
    start = content.get("init_lora_weights")
    if isinstance(start, str) and start.lower() in REFUSED_STARTS:
        raise ValueError(
            f"init_lora_weights={start!r} starts {REFUSED_STARTS[start.lower()]}, which a method does not have when it "
            f"is made; {WEIGHTS_ALONE}"
        )
    if content.get("alora_invocation_tokens"):
        raise ValueError(
            "alora_invocation_tokens name tokens of a language model's prompt behind which LoRA acts; in CLIP's towers "
            "it would never act and never learn, so leave them out"
        )


def _check_targets(content: dict[str, object]) -> None:
    targets = content.get("target_modules") or []
    for target in [targets] if isinstance(targets, str) else targets:  # type: ignore[attr-defined]
        if target.split(".")[-1] in PACKED_LAYERS:
            raise ValueError(
                f"target module {target!r} is open_clip's packed attention, whose weights no layer of its own applies; "
                "name q_proj, k_proj, v_proj or out_proj instead"
            )
    if content.get("target_parameters"):
        raise ValueError(
            f"target_parameters {content['target_parameters']} are weights without a layer of their own; "
            "name layers in target_modules"
        )


def kind_of(tuner: "peft.PeftConfig") -> str:
    """The name of a tuner's kind, such as "LORA"."""
    return str(getattr(tuner.peft_type, "value", tuner.peft_type))


def wrap(layers: nn.Module, tuner: "peft.PeftConfig") -> "peft.PeftModel":
    """Let PEFT insert its layers in place.

    Raises:
        ValueError: if PEFT finds no layer for one of the tuner's targets, or cannot take the layers.
    """
    import peft

    kind = kind_of(tuner)
    paths = [path for path, _ in layers.named_modules()]
    targets = getattr(tuner, "target_modules", None)
    for target in [] if isinstance(targets, str) else targets or []:
        # PEFT ignores some targets that match no layer.
        if not any(path == target or path.endswith(f".{target}") for path in paths):
            names = sorted({name.split(".")[-2] for name, _ in layers.named_parameters()})
            raise ValueError(f"target module {target!r} is not in these towers, which have {', '.join(names)}")
    if kind == "GLORA":  # It takes layers of the very class of torch.
        for module in layers.modules():
            if type(module) is FrozenLinear:
                module.__class__ = nn.Linear  # type: ignore[assignment]
    try:
        return peft.get_peft_model(layers, tuner)
    except PEFT_ERRORS as error:
        raise ValueError(
            f"PEFT {peft.__version__} cannot put {kind} into these target_modules of these towers: {error}"
        ) from error

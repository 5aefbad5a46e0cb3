"""Every layer tuner of the installed PEFT with each of its starts, in the towers of the embedded CLIP.

    python -m benchmarks.peft_tuners

A tuner either works (the backbone keeps its weights, something has a gradient, and what was learnt loads to equal
logits) or is refused with a reason. Anything else ends the script. It takes a minute.
"""

import dataclasses
import json
import typing
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import peft
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING as CONFIGS
from torch import Tensor

import adaptkit
from adaptkit import AdaptedCLIP, FrozenCLIP, create_method
from adaptkit.backbone.weights_source import hash_of_weights
from adaptkit.weights.peft_tuner import REFUSED
from benchmarks.timing import RESULTS

CLASSES = ("battery", "bell", "book")
# What a tuner cannot do without, or cannot have as it is on narrow layers.
NEEDED: Mapping[str, Mapping[str, object]] = {
    "ADALORA": {"total_step": 100},
    "C3A": {"block_size": 32},
    "IA3": {"feedforward_modules": []},
    "VBLORA": {"vector_length": 32},
    "VERA": {"r": 4},
}
# Variants of LoRA that are no start.
VARIANTS: tuple[Mapping[str, object], ...] = (
    *({"use_dora": True}, {"use_rslora": True}, {"lora_bias": True}),
    {"alora_invocation_tokens": [1]},
)
STARTS_OF_LORA = ("lora_ga",)  # Known to PEFT's layers and not named by the type of its option.
START_TOLERANCE = 1e-2  # Of logits, which reach 100.


@dataclass(frozen=True)
class Outcome:
    """What became of a tuner."""

    tuner: str
    option: str  # What differs from the tuner's defaults; empty for none of it.
    refused: str  # The reason; empty for a tuner that works.
    starts_at_zero_shot: bool
    numbers: int  # Learnt.


def cases() -> Iterator[tuple[str, str, str]]:
    """Names of tuners, what differs from their defaults, and their settings as JSON."""
    for kind, config in sorted(CONFIGS.items(), key=lambda pair: pair[0].value):
        fields = {field.name for field in dataclasses.fields(config)}
        base: dict[str, object] = {"peft_type": kind.value, **NEEDED.get(kind.value, {})}
        if "target_modules" in fields:
            base["target_modules"] = ["q_proj", "v_proj"]
        options: list[Mapping[str, object]] = [{}]
        if kind.value not in REFUSED:
            options += _starts(config)
        if kind.value == "LORA":
            options += [*VARIANTS, *({"init_lora_weights": start} for start in STARTS_OF_LORA)]
        for option in options:
            yield (
                kind.value,
                " ".join(f"{name}={value}" for name, value in option.items()),
                json.dumps({**base, **option}),
            )


def _starts(config: type) -> Iterator[dict[str, object]]:
    hints = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        if "init" in field.name:
            for start in _words(hints[field.name]):
                yield {field.name: start.replace("[number of iters]", "4")}


def _words(hint: object) -> list[str]:
    if typing.get_origin(hint) is typing.Literal:
        return [word for word in typing.get_args(hint) if isinstance(word, str)]
    return [word for part in typing.get_args(hint) for word in _words(part)]


def examined(tuner: str, option: str, settings: str, backbone: FrozenCLIP, fresh: FrozenCLIP) -> Outcome:
    """Make a method of a tuner on a backbone, and load what it learns on a fresh one with the same weights.

    Raises:
        ValueError: if the tuner neither works nor is refused.
    """
    images = torch.randn(3, 3, *backbone.preprocess_cfg.image_size, generator=torch.Generator().manual_seed(0))
    before = hash_of_weights(backbone.model)
    start = create_method("zero_shot", backbone, CLASSES)(images)
    refused, method = "", None
    try:
        method = create_method("peft", backbone, CLASSES, settings=settings)
    except ValueError as error:
        refused = " ".join(str(error).split())
    if hash_of_weights(backbone.model) != before:
        raise ValueError(f"{tuner} {option} changed the backbone")
    if method is None:
        return Outcome(tuner, option, refused, False, 0)
    with torch.no_grad():
        near = float((method.eval()(images) - start).abs().max()) < START_TOLERANCE
    method.train().backward(method.consume(images), torch.arange(len(CLASSES)))
    learnt = method.learnt_parameters()
    if not any(bool(tensor.grad.any()) for tensor in learnt.values() if tensor.grad is not None):
        raise ValueError(f"{tuner} {option} has no gradient")
    _check_loading(method, images, settings, fresh, f"{tuner} {option}")
    if hash_of_weights(backbone.model) != before:
        raise ValueError(f"{tuner} {option} changed the backbone when it was used")
    return Outcome(tuner, option, "", near, sum(tensor.numel() for tensor in learnt.values()))


@torch.no_grad()
def _check_loading(method: AdaptedCLIP, images: Tensor, settings: str, fresh: FrozenCLIP, tuner: str) -> None:
    for parameter in method.learnt_parameters().values():
        parameter.add_(0.01 * torch.randn(parameter.shape))
    expected = method.eval()(images)
    with torch.random.fork_rng():
        torch.manual_seed(99)  # Another start.
        other = create_method("peft", fresh, CLASSES, settings=settings).eval()
    other.load_learnt_state(method.learnt_state())
    if not torch.equal(other(images), expected):
        raise ValueError(f"what {tuner} learnt loads to logits that differ by {(other(images) - expected).abs().max()}")


def main() -> None:
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    backbone, fresh = (adaptkit.load_backbone("adaptkit-mini") for _ in range(2))
    outcomes = [examined(*case, backbone, fresh) for case in cases()]
    for outcome in outcomes:
        print(f"{outcome.tuner} {outcome.option}: {outcome.refused or 'works'}")
    content = {"peft": peft.__version__, "outcomes": [dataclasses.asdict(outcome) for outcome in outcomes]}
    (RESULTS / "peft_tuners.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Every name of open_clip against every method: what works, and where it does not, the reason.

    python -m benchmarks.backbones                    # writes benchmarks/results/backbones.json, a few minutes
    python -m benchmarks.backbones "ViT*SigLIP*"      # prints some names, writes nothing

Each name is built small (`benchmarks.shrunk_models`), its features are compared with open_clip's own in float64, and
every registered method and wrapper is made on it and must get gradients (what has to be trained for a backbone before,
such as a meta-model, is there as random numbers). `python -m benchmarks.readme` makes docs/backbones.md of the
results.
"""

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import open_clip
import torch
from torch import Tensor, nn

from adaptkit import (
    FrozenCLIP,
    Support,
    create_method,
    list_backbones,
    list_methods,
    list_wrappers,
    method_config,
    wrapper_config,
)
from adaptkit.backbone.loading import MINI
from adaptkit.features.sinc_meta import MetaModel, MetaShape, Provenance
from adaptkit.features.sinc_meta.meta_file import write_meta_model
from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower
from benchmarks.shrunk_models import shrunk_model
from benchmarks.timing import RESULTS

CLASSES = ("cat", "dog", "snow")
TOLERANCE = 1e-10  # Of features in float64, relative.
TEXTS = ("a cat", "a photo of a dog in the snow.")
# Options that the refusals suggest, by method or wrapper and by what to call them; tried where the default is refused.
WRAPPER = " (wrapper)"
INSIDE = {"tpt": "taskres"}  # methods for wrappers that do not go around one that learns nothing
FOR_IMAGES, FOR_TEXTS, SHORT = "image tower", "text tower", "n_ctx=4"
_ONE_TOWER: Mapping[str, Mapping[str, object]] = {
    FOR_IMAGES: {"encoder": "vision"},
    FOR_TEXTS: {"encoder": "text"},
}
ALTERNATIVES: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "adapter": _ONE_TOWER,
    "clip_lora": _ONE_TOWER,
    "full": _ONE_TOWER,
    "mma": _ONE_TOWER,
    "peft": _ONE_TOWER,
    f"das{WRAPPER}": {
        FOR_IMAGES: {"encoder": "vision", "skip_text": 0},
        FOR_TEXTS: {"encoder": "text", "skip_vision": 0},
    },
    "coop": {SHORT: {"n_ctx": 4}},
    "prograd": {SHORT: {"n_ctx": 4}},
}
WORKS = ("", FOR_IMAGES, FOR_TEXTS, SHORT)


@dataclass(frozen=True)
class Outcome:
    """What a name of open_clip gives."""

    name: str
    image_tower: str
    text_tower: str
    features: tuple[str, ...]  # What tells the architecture from others.
    has_vit_blocks: bool
    image_error: float  # Largest relative difference from open_clip's own features, in float64.
    text_error: float
    # Method or wrapper -> one of `WORKS`, "" for its default options, or the reason why it does not.
    methods: Mapping[str, str]


def outcome(name: str) -> Outcome:
    """Build a name small, compare its features and try every method."""
    model, tokenizer = shrunk_model(name)
    backbone = FrozenCLIP(model.double(), tokenizer, name)
    images = torch.randn(4, 3, *backbone.preprocess_cfg.image_size, dtype=torch.float64, generator=_generator())
    image_error, text_error = errors(backbone, images)
    model.float()
    return Outcome(
        name,
        _kind(backbone.model.visual),
        _kind(getattr(backbone.model, "text", None)),
        features(backbone),
        backbone.has_vit_blocks,
        image_error,
        text_error,
        {name: attempt(backbone, name, images.float()) for name in tried()},
    )


@torch.no_grad()
def errors(backbone: FrozenCLIP, images: Tensor) -> tuple[float, float]:
    """Relative differences of image and text features from those of open_clip's own forward."""
    theirs = backbone.model.visual(images)
    tokens = backbone.tokenize(TEXTS)
    their_texts = backbone.model.encode_text(tokens)
    if type(backbone.model).__name__ == "CoCa":  # It normalises.
        their_texts = backbone.model.encode_text(tokens, normalize=False)
    return (
        _difference(backbone.encode_image(images), theirs[0] if isinstance(theirs, tuple) else theirs),
        _difference(backbone.encode_text(tokens), their_texts),
    )


def _difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to how much the rows differ from each other."""
    return float((ours - theirs).abs().max() / (theirs - theirs.mean(dim=0)).abs().max())


def tried() -> list[str]:
    """Every method, and every wrapper with a word to tell it from a method of the same name."""
    return [*list_methods(), *(f"{wrapper}{WRAPPER}" for wrapper in list_wrappers())]


def attempt(backbone: FrozenCLIP, name: str, images: Tensor) -> str:
    """The value of `Outcome.methods` for a method, or for a wrapper around one that learns nothing, if it may.

    Raises:
        AssertionError: if it is made and gets no gradient.
    """
    try:
        _learn(backbone, name, {}, images)
    except ValueError as refusal:
        reason = str(refusal)
    else:
        return ""
    for note, options in ALTERNATIVES.get(name, {}).items():
        try:
            _learn(backbone, name, options, images)
        except ValueError:
            continue
        return note
    return reason


def _learn(backbone: FrozenCLIP, name: str, options: Mapping[str, object], images: Tensor) -> None:
    torch.manual_seed(0)
    labels = torch.arange(len(images)) % len(CLASSES)
    if not name.endswith(WRAPPER):
        with _trained_before(name, backbone) as files:
            method = create_method(name, backbone, CLASSES, method_config(name)(**options, **files))
    else:
        wrapper = name.removesuffix(WRAPPER)
        inner = INSIDE.get(wrapper, "zero_shot")
        method = create_method(inner, backbone, CLASSES, wrap=[(wrapper, wrapper_config(wrapper)(**options))])
    x = method.consume(images)
    method.prepare(Support(x, labels))
    method.train()
    method.backward(x, labels)
    learnt = method.learnt_parameters()
    assert not learnt or any(weight.grad is not None and weight.grad.abs().max() > 0 for weight in learnt.values()), (
        f"{name} gets no gradient on {backbone.name}"
    )


@contextmanager
def _trained_before(name: str, backbone: FrozenCLIP) -> Iterator[Mapping[str, object]]:
    """Options that name what somebody has to have trained for a backbone; here they are random numbers."""
    if name != "sinc_meta":
        yield {}
        return
    model = MetaModel(MetaShape(backbone.embed_dim, width=16, layers=1, heads=2))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "meta_model.safetensors"
        write_meta_model(file, model, Provenance(backbone.name, backbone.weights_hash, ("harp",), ("lute",)), {})
        yield {"meta_model": str(file)}


def features(backbone: FrozenCLIP) -> tuple[str, ...]:
    """What tells this architecture from others, read off the towers."""
    vision, text = backbone.vision_tower, backbone.text_tower
    return tuple(
        sorted({_kind(backbone.model.visual), *(_of_vision(vision) if vision is not None else ())})
        + sorted({f"text: {part}" for part in (_of_text(text) if text is not None else (_kind(backbone.model.text),))})
    )


def _of_vision(tower: VisionTower) -> Sequence[str]:
    positions = tower.positional_embedding
    kind_of_positions = "no added positions"
    if positions is not None:
        kind_of_positions = (
            "positions of patches" if positions.shape[-2] == tower.n_patches else "positions of all rows"
        )
    return [
        f"patches by {type(tower.conv1).__name__}",
        f"{tower.n_prefix} prefix tokens",
        kind_of_positions,
        "norm in front" if isinstance(tower.ln_pre, nn.LayerNorm) else "no norm in front",
        f"pool {'class token' if tower.pool is None else type(tower.pool).__name__}",
        "pools normed rows" if tower.pools_normed else "norm behind the pool",
        *_of_block(tower.blocks[0]),
    ]


def _of_text(tower: TextTower) -> Sequence[str]:
    return [
        "causal" if tower.attn_mask is not None else "not causal",
        f"pool {tower.pool}",
        *(["class token behind"] if tower.class_embedding is not None else []),
        *(["padding hidden"] if tower.pad_id is not None else []),
        f"projection {type(tower.projection).__name__}",
        *_of_block(tower.blocks[0]),
    ]


def _of_block(block: object) -> Sequence[str]:
    attn, mlp = getattr(block, "attn", None), getattr(block, "mlp", nn.Identity())
    activations = (layer for layer in mlp.modules() if type(layer).__name__.endswith(("GELU", "GELUTanh", "SiLU")))
    activation = next((str(layer) for layer in activations), "")
    parts = [name for name in ("ln_q", "ln_inner", "positions") if getattr(attn, name, None) is not None]
    biases = getattr(attn, "in_proj_bias", None)
    return [
        f"{type(attn).__name__} {'with' if biases is not None else 'without'} biases",
        *(f"{part} {type(getattr(attn, part)).__name__}" for part in parts),
        f"MLP {type(mlp).__name__} {activation}".strip(),
        *(f"{part} {type(getattr(block, part)).__name__}" for part in ("ls_1", "ln_1") if getattr(block, part, None)),
    ]


def _kind(tower: nn.Module | None) -> str:
    """The class of a tower; for those of other libraries, theirs."""
    if tower is None:
        return "CLIP's own"
    inner = getattr(tower, "trunk", None) or getattr(tower, "transformer", None)
    name = type(tower).__name__
    return {"TimmModel": f"timm {type(inner).__name__}", "HFTextEncoder": type(inner).__name__}.get(name, name)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pattern", nargs="?", default="*", help='only names like this, such as "ViT-B*"')
    pattern = parser.parse_args(argv).pattern
    warnings.filterwarnings("ignore", category=UserWarning)
    outcomes = []
    for name in list_backbones(pattern):
        if name != MINI:
            outcomes.append(outcome(name))
            refused = [method for method, reason in outcomes[-1].methods.items() if reason not in WORKS]
            print(f"{name}: {outcomes[-1].image_tower}; refused: {', '.join(refused) or 'none'}", flush=True)
    if pattern == "*":
        content = {"open_clip": open_clip.__version__, "backbones": [asdict(one) for one in outcomes]}
        (RESULTS / "backbones.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

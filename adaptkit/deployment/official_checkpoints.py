"""Import of checkpoints that the papers' released code wrote.

    CoOp, CoCoOp, TCP       prompt_learner/model.pth.tar-N             ctx, meta_net.*
    MaPLe                   MultiModalPromptLearner/model.pth.tar-N    prompt_learner.{ctx, proj, compound_*}, CLIP
    PromptSRC, IVLP         VLPromptLearner/model.pth.tar-N            prompt_learner.ctx, *.VPT, *.VPT_shallow, CLIP
    CLIP-LoRA               <name>.pt                                  weights by layer, with their settings
KgCoOp's and ProGrad's files look like CoOp's, so `method` tells them apart. The tensors of the class names
(token_prefix, token_suffix) are dropped and made anew; CLIP's own weights are compared with the backbone's and dropped.
No code in the files runs.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adaptkit.artefacts.tensors import check_learnt
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.torch_files import read_torch_file
from adaptkit.classes.class_set import ClassSet, as_class_set
from adaptkit.contract.creation import create_method
from adaptkit.contract.method import AdaptedCLIP

Tensors = dict[str, Tensor]
CLASS_BOUND = ("token_prefix", "token_suffix", "token_midfix")
PATCHES = "image_encoder.conv1.weight"  # CLIP's patch weights, in files that hold the whole model.
# Allowed difference of CLIP's weights from the backbone's, relative to the largest: half precision, sums over epochs.
DRIFT = 0.05


@dataclass(frozen=True)
class Converted:
    """The content of a checkpoint: a method, the options that its tensors show, and the tensors under our names."""

    method: str
    options: dict[str, object]
    tensors: Tensors


def import_official(
    path: str | Path,
    backbone: FrozenCLIP,
    classnames: Sequence[str] | ClassSet,
    method: str | None = None,
    **options: object,
) -> AdaptedCLIP:
    """A method with the learnt tensors of the papers' released code, in eval mode.

    Args:
        path: the checkpoint file.
        backbone: the CLIP that it was trained on, such as `load_backbone("ViT-B-16", pretrained="openai")`.
        classnames: class names in label order, which the files do not hold.
        method: kgcoop, prograd or ivlp, if the tensors alone do not tell.
        options: options of the method that the file does not hold: CoOp's class_token_position, MaPLe's ctx_init,
            ProGrad's and TCP's template, TCP's insert_block.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is no checkpoint of these methods, or was trained on another backbone.

    Example:
        ```python
        backbone = adaptkit.load_backbone("adaptkit-mini")
        context = torch.randn(4, backbone.text_width)  # what CoOp's released code saves, in little
        torch.save({"state_dict": {"ctx": context}, "epoch": 50}, "model.pth.tar-50")
        method = adaptkit.import_official("model.pth.tar-50", backbone, ["corgi", "husky"])
        assert torch.equal(method.learnt_state()["context.ctx"], context)
        ```
    """
    content = read_torch_file(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected a checkpoint of the papers' code")
    classes = as_class_set(classnames)
    try:
        _check_class_count(content.get("state_dict"), classes, str(path))
        converted = _convert(content, method, backbone, str(path))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not what the papers' code saves: {error!r}") from None
    if method is not None and method != converted.method:
        raise ValueError(f"{path} is a checkpoint of {converted.method}, and {method} was asked for")
    with torch.random.fork_rng(devices=[]):  # Random initial tensors are replaced at once.
        settings = converted.options | options
        made = create_method(converted.method, backbone, classes, **settings)  # type: ignore[arg-type]
    made.eval()
    try:
        for name, tensor in sorted(converted.tensors.items()):
            check_learnt(name, tensor)
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}; did that training diverge?") from None
    try:
        made.load_learnt_state({name: tensor.to(backbone.device) for name, tensor in converted.tensors.items()})
    except ValueError as error:
        raise ValueError(f"{path} does not fit {converted.method} on {backbone.name}: {error}") from None
    return made


def _convert(content: Mapping[str, object], method: str | None, backbone: FrozenCLIP, place: str) -> Converted:
    weights, metadata, state = (content.get(key) for key in ("weights", "metadata", "state_dict"))
    if isinstance(weights, Mapping) and isinstance(metadata, Mapping):
        return _clip_lora(weights, metadata, backbone, place)
    if not isinstance(state, Mapping):
        raise ValueError(f"{place} has no state_dict; expected a model.pth.tar-N, or a .pt of CLIP-LoRA")
    tensors = {
        str(name).removeprefix("module."): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
        if isinstance(tensor, Tensor) and str(name).rsplit(".", 1)[-1] not in CLASS_BOUND
    }
    return _prompts(tensors, method, backbone, place)


def _check_class_count(state: object, classes: ClassSet, place: str) -> None:
    """Refuse names that are more or fewer than the classes that a file was learnt on, whose texts or contexts tell.

    Raises:
        ValueError: says both numbers.
    """
    for name, tensor in state.items() if isinstance(state, Mapping) else ():
        last = str(name).rsplit(".", 1)[-1]
        of_classes = last in CLASS_BOUND or (last == "ctx" and getattr(tensor, "ndim", 0) == 3)
        if isinstance(tensor, Tensor) and tensor.ndim and of_classes and len(tensor) != len(classes):
            raise ValueError(
                f"{place} was learnt on {len(tensor)} classes ({name} has shape {tuple(tensor.shape)}), and "
                f"{len(classes)} names are given; give the names of all {len(tensor)} in label order, and other names "
                "with set_classes afterwards"
            )


def _prompts(tensors: Tensors, method: str | None, backbone: FrozenCLIP, place: str) -> Converted:
    """Convert a checkpoint of a prompt method, which the names of its tensors identify."""
    _check_backbone(tensors, backbone, place)
    converters: dict[str, Callable[[Tensors, FrozenCLIP], Converted]] = {
        "prompt_learner.proj.weight": _maple,
        "image_encoder.VPT": lambda state, _: _both_towers(state, method),
        "meta_net.linear1.weight": _meta_net,
        "ctx": lambda state, _: _coop(state, method),
    }
    mark = next((mark for mark in converters if mark in tensors), None)
    if mark is None:
        names = ", ".join(sorted(tensors)[:3]) or "no tensors"
        raise ValueError(f"{place} has {names}, which is none of CoOp, CoCoOp, TCP, MaPLe, PromptSRC and IVLP")
    return converters[mark](tensors, backbone)


def _check_backbone(tensors: Tensors, backbone: FrozenCLIP, place: str) -> None:
    """Refuse a file with CLIP weights that are not the backbone's."""
    theirs = tensors.get(PATCHES)
    if theirs is None:
        return
    ours = next(backbone.require_vit_blocks("the checkpoint").conv1.parameters()).float().cpu()
    if theirs.shape != ours.shape or float((theirs - ours).abs().max()) > DRIFT * float(ours.abs().max()):
        raise ValueError(
            f"{place} was learnt on a CLIP with other weights than {backbone.name}; the papers' are "
            'load_backbone("ViT-B-16", pretrained="openai")'
        )


def _coop(tensors: Tensors, method: str | None) -> Converted:
    ctx = tensors["ctx"]  # (n_ctx, D_t), or (C, n_ctx, D_t)
    name = method if method in ("kgcoop", "prograd") else "coop"
    options: dict[str, object] = {"n_ctx": ctx.shape[-2]}
    if name != "prograd":
        options["ctx_init"] = ""  # The initial words are learnt away; ProGrad's template is read below.
    if ctx.ndim == 3:
        options["class_specific"] = True
    return Converted(name, options, {"context.ctx": ctx})


def _meta_net(tensors: Tensors, backbone: FrozenCLIP) -> Converted:
    """CoCoOp, whose network gives one shift for the whole context, or TCP, whose network gives every token of it."""
    hidden = max(1, tensors["meta_net.linear1.weight"].shape[0])
    options: dict[str, object] = {
        "n_ctx": tensors["ctx"].shape[0],
        "ctx_init": "",
        "reduction": max(1, backbone.embed_dim // hidden),
    }
    meta_net = {name: tensor for name, tensor in tensors.items() if name.startswith("meta_net.")}
    name = "cocoop" if len(tensors["meta_net.linear2.bias"]) == tensors["ctx"].shape[-1] else "tcp"
    return Converted(name, options, {"context.ctx": tensors["ctx"], **meta_net})


def _maple(tensors: Tensors, _: FrozenCLIP) -> Converted:
    learnt = {name.removeprefix("prompt_learner."): t for name, t in tensors.items() if name.startswith("prompt_learn")}
    renamed = {"context.ctx": learnt["ctx"]}
    for kind in ("weight", "bias"):
        renamed[f"couplings.0.{kind}"] = learnt[f"proj.{kind}"]
    later = sorted(int(name.rsplit(".", 1)[1]) for name in learnt if name.startswith("compound_prompts_text."))
    for i in later:
        renamed[f"text_prompts.{i}"] = learnt[f"compound_prompts_text.{i}"]
        for kind in ("weight", "bias"):
            renamed[f"couplings.{i + 1}.{kind}"] = learnt[f"compound_prompt_projections.{i}.{kind}"]
    n_ctx = learnt["ctx"].shape[0]
    return Converted("maple", {"n_ctx": n_ctx, "depth": 1 + len(later)} | _words_of(n_ctx), renamed)


def _words_of(n_ctx: int) -> dict[str, object]:
    """The `ctx_init` of MaPLe, PromptSRC and IVLP, whose code drops the words if there are more than four tokens."""
    return {"ctx_init": ""} if n_ctx > 4 else {}


def _both_towers(tensors: Tensors, method: str | None) -> Converted:
    """Convert PromptSRC, whose files also hold a frozen image tower, or IVLP, whose files do not."""
    renamed = {"context.ctx": tensors["prompt_learner.ctx"], "vision_prompts.0": tensors["image_encoder.VPT"]}
    depths = {"image": 1, "text": 1}
    for name, tensor in tensors.items():
        found = re.fullmatch(r"(image|text)_encoder\.transformer\.resblocks\.(\d+)\.VPT_shallow", name)
        if found:
            tower, layer = found[1], int(found[2])
            renamed[f"vision_prompts.{layer}" if tower == "image" else f"text_prompts.{layer - 1}"] = tensor
            depths[tower] = max(depths[tower], layer + 1)
    options: dict[str, object] = {
        "n_ctx_text": tensors["prompt_learner.ctx"].shape[0],
        "n_ctx_vision": tensors["image_encoder.VPT"].shape[0],
        "depth_text": depths["text"],
        "depth_vision": depths["image"],
        **_words_of(tensors["prompt_learner.ctx"].shape[0]),
    }
    is_promptsrc = any(name.startswith("prompt_learner.ZS_image_encoder.") for name in tensors)
    name = method if method in ("promptsrc", "ivlp") else "promptsrc" if is_promptsrc else "ivlp"
    return Converted(name, options, renamed)


# Blocks of CLIP-LoRA's option `position`, for towers of 12 blocks and more.
POSITIONS = {
    "top": (11,),
    "top1": (11,),
    "top2": (10, 11),
    "top3": (9, 10, 11),
    "bottom": (0, 1, 2, 3),
    "mid": (4, 5, 6, 7),
    "up": (8, 9, 10, 11),
    "half-up": (6, 7, 8, 9, 10, 11),
    "half-bottom": (0, 1, 2, 3, 4, 5),
}
PROJECTIONS = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "proj": "o"}


def _clip_lora(
    weights: Mapping[str, Mapping[str, Mapping[str, Tensor]]],
    metadata: Mapping[str, object],
    backbone: FrozenCLIP,
    place: str,
) -> Converted:
    """Convert a CLIP-LoRA checkpoint, which numbers layers through: the text tower's first, then the vision tower's."""
    encoder, position, params = str(metadata["encoder"]), str(metadata["position"]), metadata["params"]
    layers = [weights[f"layer_{index}"] for index in range(len(weights))]
    if position != "all" and position not in POSITIONS:
        raise ValueError(f"{place} has the position {position!r}; known: all, {', '.join(POSITIONS)}")
    text: tuple[int, ...] = ()
    if encoder != "vision":
        text = POSITIONS.get(position, tuple(range(backbone.text_depth)))
    vision: tuple[int, ...] = ()
    if encoder != "text":
        # The released list of "all" blocks of ViT-L/14 ends three blocks early, so the blocks in the file decide.
        vision = POSITIONS.get(position, tuple(range(len(layers) - len(text))))
    if len(layers) != len(text) + len(vision):
        raise ValueError(
            f"{place} has {len(layers)} layers; on {backbone.name}, encoder {encoder!r} with position {position!r} "
            f"has {len(text) + len(vision)}"
        )
    tensors: Tensors = {}
    places = [f"text_updates.{layer}" for layer in text] + [f"vision_updates.{layer}" for layer in vision]
    for prefix, layer in zip(places, layers, strict=True):
        for projection, matrices in layer.items():
            for matrix in ("A", "B"):
                tensors[f"{prefix}.{PROJECTIONS[projection]}.{matrix}"] = matrices[f"w_lora_{matrix}"].float()
    if not isinstance(params, list | tuple):
        raise TypeError(f"params is {params!r}")
    options: dict[str, object] = {
        "r": int(str(metadata["r"])),
        "alpha": float(str(metadata["alpha"])),
        "params": tuple(str(name) for name in params),
        "encoder": encoder,
        "text_blocks": text,
        "vision_blocks": vision,
        "template_set": "default",
    }
    return Converted("clip_lora", options, tensors)

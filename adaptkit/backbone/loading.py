"""Backbones by name: open_clip's models and tags, hub repositories, local files, and the embedded adaptkit-mini."""

import difflib
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import CLIP, build_model_from_openai_state_dict, convert_to_custom_text_state_dict
from torch import Tensor, nn

from adaptkit.backbone.devices import choose_device
from adaptkit.backbone.foreign_model import FOLDER_PREFIX, is_foreign, is_student, open_foreign
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.hub import hub_asked
from adaptkit.backbone.image_size import ImageSize, set_image_size
from adaptkit.backbone.named_parts import Folder, new_model, tokenizer_of
from adaptkit.backbone.tokenizer import clip_words
from adaptkit.backbone.weight_files import OPENAI_MARKS, is_openai_format, read_state_dict
from adaptkit.backbone.weights_source import WeightsSource, check_weights
from adaptkit.regular_file import user_path

MINI = "adaptkit-mini"
MINI_FOLDER = Path(__file__).parent.parent / "mini"
MINI_VOCABULARY = MINI_FOLDER / "bpe_simple_vocab_8192.txt.gz"
AUTO = "auto"
RANDOM = "random"
OLD_POSITIONS = "text.transformer.embeddings.position_ids"  # Counted out, not learnt; stored by older transformers.
Loaded = tuple[nn.Module, Callable[..., Tensor]]

PRECISIONS = {torch.float32: "fp32", torch.float64: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


def list_backbones(pattern: str = "*") -> list[str]:
    """Names for `load_backbone`, filtered by a shell pattern ("ViT-B*"); any `hf-hub:` name works as well.

    Example:
        ```python
        print(adaptkit.list_backbones("ViT-B*"))  # ['ViT-B-16', 'ViT-B-16-SigLIP', ...]
        ```
    """
    return [name for name in (MINI, *open_clip.list_models()) if fnmatch(name, pattern)]


def list_pretrained(name: str) -> list[str]:
    """Tags of the published weights of a backbone.

    Raises:
        ValueError: if the name is unknown.

    Example:
        ```python
        assert "openai" in adaptkit.list_pretrained("ViT-B-16")
        ```
    """
    return [] if name == MINI else open_clip.list_pretrained_tags_by_model(_known_name(name))


def load_backbone(
    name: str,
    pretrained: str | None = None,
    checkpoint: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    image_size: ImageSize | None = None,
    tokenizer: str | Path | None = None,
    *,
    cached_only: bool = False,
) -> FrozenCLIP:
    """Load a frozen CLIP model.

    Args:
        name: an open_clip name ("ViT-B-16"), "hf-hub:org/repo", "local-dir:path", "adaptkit-mini", or "auto" to
            read the architecture from a checkpoint in OpenAI's format. The second to fourth bring their own weights,
            unless a checkpoint replaces them. Or the folder of a distilled student, for which a checkpoint is its
            teacher's.
        pretrained: an open_clip tag ("openai"; see `list_pretrained`), or "random" for seeded random weights.
        checkpoint: a local file of weights: .safetensors, .pt, .pth, .bin or an OpenAI archive; no code in it runs.
        device: "cpu", "cuda", "cuda:1", or "auto" for the first CUDA device if there is one.
        dtype: dtype of the weights; prefer float32 with autocast to half-precision weights.
        image_size: side of the images in pixels, or height and width, if not the model's own: positions are
            interpolated. It has to be a multiple of the patch.
        tokenizer: a local folder with a tokenizer of Hugging Face, in place of the one that the hub has for this name.
            For a text tower of Hugging Face its config.json is there as well.
        cached_only: take the files of a hub repository from the hub's cache alone, and never a newer version.

    Raises:
        FileNotFoundError: if the checkpoint or the folder does not exist, or a file of the hub is neither cached nor to
            be had.
        ForeignConfigError: if the config of a folder or repository asks for more than a model.
        ValueError: if the name or tag is unknown, no weights or two are named, the weights do not fit the model, one is
            not finite, the model cannot take images of that size, or towers cannot run on the device.

    Example:
        ```python
        backbone = adaptkit.load_backbone("adaptkit-mini")
        text_features = backbone.encode_text(["a photo of a corgi."])  # (1, D)
        ```
    """
    device = choose_device(device)
    if not name.strip():
        raise ValueError("the name of the backbone is empty; `adaptkit backbones` lists names")
    checkpoint = None if checkpoint is None else user_path(checkpoint, "checkpoint")
    if dtype not in PRECISIONS:
        raise ValueError(f"dtype {dtype} is not supported; use one of {', '.join(map(str, PRECISIONS))}")
    if name not in list_backbones() and is_student(name):
        return _load_student(name, pretrained, checkpoint, device, dtype, image_size, tokenizer)
    if name == MINI or is_foreign(name):
        if pretrained is not None:
            raise ValueError(f"{name} brings its own weights; leave out pretrained={pretrained!r}")
        model, words, weights = open_foreign(
            f"local-dir:{MINI_FOLDER}" if name == MINI else name, PRECISIONS[dtype], tokenizer, cached_only=cached_only
        )
        if name == MINI and tokenizer is None:
            words = clip_words(model.context_length, str(MINI_VOCABULARY))
        weights = checkpoint or weights
        if weights is None:
            raise FileNotFoundError(f"{name} has no file of weights; give yours as checkpoint=")
        _load_state(model, _without_marks(read_state_dict(weights)), f"{weights} does not fit {name}")
    elif (pretrained is None) == (checkpoint is None):
        raise ValueError(
            f"name the weights of {name}: either pretrained=... (a tag, or {RANDOM!r} for random weights) or "
            f"checkpoint=... (a file); got pretrained={pretrained!r}, {checkpoint=}"
        )
    elif checkpoint is not None:
        model, words = _load_file(name, checkpoint, PRECISIONS[dtype], tokenizer)
    else:
        assert pretrained is not None
        model, words = _load_tag(_known_name(name), pretrained, PRECISIONS[dtype], tokenizer)
    if dtype == torch.float64:
        model.double()
    check_weights(model, name if checkpoint is None else f"{name} in {checkpoint}")
    resized = None if image_size is None else set_image_size(model, image_size)
    backbone = FrozenCLIP(model, words, name).to(device)
    file = checkpoint.name if checkpoint is not None else None
    backbone.source = WeightsSource(name, pretrained, file, resized)
    return backbone


def _load_student(
    name: str,
    pretrained: str | None,
    checkpoint: Path | None,
    device: torch.device,
    dtype: torch.dtype,
    image_size: ImageSize | None,
    tokenizer: Folder,
) -> FrozenCLIP:
    from adaptkit.backbone.student import load_student  # It loads a student's teacher through this module.

    for argument, value in (("pretrained", pretrained), ("tokenizer", tokenizer)):
        if value is not None:
            raise ValueError(f"{name} is a student and has its own; leave out {argument}={value!r}")
    if dtype != torch.float32:
        raise ValueError(f"{name} is a student, which is float32; leave out {dtype=}, or compute with autocast")
    folder = name.removeprefix(FOLDER_PREFIX)
    return load_student(folder, checkpoint=checkpoint, device=device, image_size=image_size)


def _known_name(name: str) -> str:
    known = open_clip.list_models()
    cleaned = name.replace("/", "-")
    if cleaned not in known:
        near = difflib.get_close_matches(cleaned, [MINI, *known], n=3, cutoff=0.4)
        raise ValueError(
            f"unknown backbone {name!r}; nearest names: {', '.join(near)}. `adaptkit backbones` lists all; "
            'prefix a hub repository with "hf-hub:"'
        )
    return cleaned


def _load_tag(name: str, pretrained: str, precision: str, folder: Folder) -> Loaded:
    if pretrained == RANDOM:
        words = tokenizer_of(name, folder)  # First, because it may not be there.
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return new_model(name, precision, folder), words
    plain = name.removesuffix("-quickgelu")
    published = {
        tag: cfg
        for model in (plain, name)
        for tag in open_clip.list_pretrained_tags_by_model(model)
        if (cfg := open_clip.get_pretrained_cfg(model, tag))
    }
    if pretrained not in published:
        near = difflib.get_close_matches(pretrained, published, n=3, cutoff=0.3)
        raise ValueError(
            f"unknown weights {pretrained!r} for {name}; nearest tags: {', '.join(near or published) or 'none'}. "
            "For a file, use checkpoint="
        )
    needs_quick_gelu = bool(published[pretrained].get("quick_gelu", False))
    _refuse_wrong_activation(name, pretrained, needs_quick_gelu)
    owner = name if pretrained in open_clip.list_pretrained_tags_by_model(name) else plain
    with hub_asked(f"{pretrained!r}, the weights of {name},"):
        model = open_clip.create_model(
            owner, pretrained, precision=precision, force_quick_gelu=needs_quick_gelu, require_pretrained=True
        )
    return model, tokenizer_of(name, folder)


def _refuse_wrong_activation(name: str, weights: str, needs_quick_gelu: bool) -> None:
    """Refuse a QuickGELU name for weights trained with GELU; in the opposite case the model gets QuickGELU."""
    has_quick_gelu = bool(open_clip.get_model_config(name).get("quick_gelu", False))
    if has_quick_gelu and not needs_quick_gelu:
        raise ValueError(
            f"{name} computes QuickGELU and the weights {weights!r} were trained with GELU; "
            f"use {name.removesuffix('-quickgelu')}"
        )


def _load_file(name: str, checkpoint: Path, precision: str, folder: Folder) -> Loaded:
    state = read_state_dict(checkpoint)
    is_openai = is_openai_format(state)
    state = _without_marks(state)
    if name == AUTO:
        if not is_openai:
            raise ValueError(f"{checkpoint} is not in OpenAI's format; name its architecture instead of {AUTO!r}")
        return _build_openai(state, checkpoint, precision), clip_words(77)
    name = _known_name(name)
    model = new_model(name, precision, folder, quick_gelu=is_openai)
    _load_state(model, state, f"{checkpoint} does not fit {name}")
    return model, tokenizer_of(name, folder)


def _without_marks(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name not in OPENAI_MARKS}


def _build_openai(state: dict[str, Tensor], checkpoint: Path, precision: str) -> CLIP:
    try:
        model = build_model_from_openai_state_dict(dict(state), cast_dtype=None)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{checkpoint} has OpenAI's marks but not its tensors: {error}") from error
    model.float()  # open_clip makes it half, like the released weights.
    model.load_state_dict(state)
    if precision != "fp32":
        open_clip.model.convert_weights_to_lp(model, torch.float16 if precision == "fp16" else torch.bfloat16)
    return model


def _load_state(model: nn.Module, state: dict[str, Tensor], problem: str) -> None:
    """Load a state dict in any form that open_clip reads, or say what does not fit."""
    state = convert_state_dict(model, state)
    if not isinstance(model, CLIP):
        state = convert_to_custom_text_state_dict(state)
    own = model.state_dict()
    if OLD_POSITIONS not in own:
        state.pop(OLD_POSITIONS, None)
    if "logit_bias" in own and "logit_bias" not in state and "logit_scale" in state:
        state["logit_bias"] = torch.zeros_like(state["logit_scale"])  # As open_clip starts one.
    for scalar in ("logit_scale", "logit_bias"):  # Releases differ in the dimension.
        if scalar in state and scalar in own:
            state[scalar] = state[scalar].reshape(own[scalar].shape)
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    ]
    complaints = [
        f"{len(names)} {kind} ({', '.join(sorted(names)[:3])}{', ...' if len(names) > 3 else ''})"
        for kind, names in (("missing", missing), ("unknown", extra), ("of another shape", wrong))
        if names
    ]
    if complaints:
        raise ValueError(f"{problem}: tensors {'; '.join(complaints)}")
    model.load_state_dict(state)

"""Backbones from a folder or a hub repository with an `open_clip_config.json`, built without running code of theirs.

The config is checked before anything else is read. The weights are read as tensors by our own reader, and a tokenizer
is opened with `trust_remote_code=False`, whatever the folder asks for.
"""

import inspect
import logging
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import open_clip
from open_clip.hf_configs import arch_dict
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor, nn

from adaptkit.backbone.foreign_config import CONFIG_FILE, ForeignConfig, ForeignConfigError, read_foreign_config
from adaptkit.backbone.hub_files import HUB_PREFIX, hub_file
from adaptkit.backbone.named_parts import Folder, tokenizer_in
from adaptkit.backbone.tokenizer import clip_words
from adaptkit.regular_file import user_path

FOLDER_PREFIX = "local-dir:"
STUDENT_FILE = "student.json"
HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth")


def is_foreign(name: str) -> bool:
    """Whether a backbone's name stands for a folder or a hub repository."""
    return name.startswith((HUB_PREFIX, FOLDER_PREFIX))


def is_student(name: str) -> bool:
    """Whether a backbone's name is the folder of a student, with or without "local-dir:" before it."""
    try:
        return (Path(name.removeprefix(FOLDER_PREFIX)).expanduser() / STUDENT_FILE).is_file()
    except (OSError, RuntimeError, ValueError):  # no path at all: too long, of nobody's home, with a null character
        return False


def open_foreign(
    name: str, precision: str, words: Folder = None, *, cached_only: bool = False
) -> tuple[nn.Module, Callable[..., Tensor], Path | None]:
    """The model of a folder or hub repository with random weights, its tokenizer, and the file of its weights.

    Args:
        name: "local-dir:FOLDER" or "hf-hub:owner/name", with or without "@revision".
        words: a folder with a tokenizer that the user gives, in place of its own.
        cached_only: take a repository's files from the hub's cache alone.

    Raises:
        FileNotFoundError: if there is no config.
        ForeignConfigError: if the config asks for more than a model, or its tokenizer needs code of its own.
    """
    if name.startswith(FOLDER_PREFIX):
        folder = user_path(name.removeprefix(FOLDER_PREFIX), "folder of a tokenizer")
        config = read_foreign_config(folder / CONFIG_FILE)
        return (
            _build(config, name, precision, cached_only),
            _tokenizer(config, name, folder, words, cached_only),
            _weights(folder),
        )
    path = hub_file(name, CONFIG_FILE, cached_only=cached_only)
    config = read_foreign_config(path)
    # The weights are of the commit of the config, should the repository change meanwhile.
    pinned = f"{name.partition('@')[0]}@{path.parent.name}"
    return (
        _build(config, name, precision, cached_only),
        _tokenizer(config, name, None, words, cached_only),
        _hub_weights(pinned, cached_only),
    )


def _build(config: ForeignConfig, name: str, precision: str, cached_only: bool) -> nn.Module:
    if config.text.get("hf_model_name"):
        _check_text_tower(str(config.text["hf_model_name"]), name, cached_only)
    # open_clip reads a folder. This one holds the checked config alone, so that it finds neither weights nor code.
    with TemporaryDirectory() as folder:
        (Path(folder) / CONFIG_FILE).write_text(config.to_json(), encoding="utf-8")
        told = logging.root.manager.disable
        logging.disable(logging.WARNING)  # open_clip would say that it found no weights, which come later.
        try:
            return open_clip.create_model(
                f"{FOLDER_PREFIX}{folder}",
                precision=precision,
                load_weights=False,
                pretrained_image=False,
                pretrained_text=False,
            )
        # What a config of plain values can still get wrong, open_clip reports with any of these.
        except (TypeError, ValueError, AssertionError, KeyError, RuntimeError, ZeroDivisionError, IndexError) as error:
            raise ForeignConfigError(f"open_clip builds no model from the config of {name}: {error}") from error
        finally:
            logging.disable(told)


def _check_text_tower(repository: str, name: str, cached_only: bool) -> None:
    """Check that a text tower is of a kind that the installed libraries compute, before they are asked to build it."""
    from transformers import PretrainedConfig

    try:
        tower, _ = PretrainedConfig.get_config_dict(repository, local_files_only=cached_only)
    except OSError as error:
        raise FileNotFoundError(
            f"{name} has the text tower {repository}, whose config.json is neither cached nor reached: {error}"
        ) from error
    if tower.get("model_type") not in arch_dict or "auto_map" in tower:
        raise ForeignConfigError(
            f"{name} has the text tower {repository} of the kind {tower.get('model_type')!r}"
            f"{', which brings code of its own' if 'auto_map' in tower else ''}; "
            f"expected one of {', '.join(sorted(arch_dict))}, and no code is run"
        )


def _tokenizer(
    config: ForeignConfig, name: str, folder: Path | None, words: Folder, cached_only: bool
) -> Callable[..., Tensor]:
    text = config.text
    if words is not None:
        return tokenizer_in(words, text)
    settings = deepcopy(text.get("tokenizer_kwargs") or {})
    assert isinstance(settings, dict)
    length = text.get("context_length", 77)
    repository = text.get("hf_tokenizer_name")
    if not repository:
        taken = _taken(settings, SimpleTokenizer, name)
        return SimpleTokenizer(context_length=length, **taken) if taken else clip_words(length)
    try:
        return HFTokenizer(
            folder if folder is not None else repository,
            context_length=length,
            tokenizer_mode=text.get("tokenizer_mode"),
            trust_remote_code=False,
            local_files_only=cached_only or folder is not None,
            **_taken(settings, HFTokenizer, name),
        )
    except ValueError as error:
        raise ForeignConfigError(
            f"the tokenizer of {name} cannot be opened without running code of its own, which is not done: "
            f"{str(error).splitlines()[0]}"
        ) from error
    except OSError as error:
        raise FileNotFoundError(
            f"the tokenizer of {name} ({repository}) is not there: {next(iter(str(error).splitlines()), '')}"
        ) from error


def _taken(settings: Mapping[str, object], kind: type, name: str) -> dict[str, object]:
    known = inspect.signature(kind).parameters
    for key in settings:
        if key not in known:
            raise ForeignConfigError(f"{name} sets tokenizer_kwargs.{key}, which {kind.__name__} does not have")
    return dict(settings)


def _weights(folder: Path) -> Path | None:
    """A folder's file of weights, by the order of names that open_clip has; None if there is none."""
    found = sorted(path for path in folder.iterdir() if path.suffix in WEIGHT_SUFFIXES and path.is_file())
    by_name = {path.name: path for path in found}
    named = [by_name[name] for name in WEIGHTS if name in by_name]
    first = [*named, *(path for path in found if path.suffix == ".safetensors"), *found]
    return first[0] if first else None


def _hub_weights(place: str, cached_only: bool) -> Path | None:
    for filename in HUB_WEIGHTS:
        try:
            return hub_file(place, filename, cached_only=cached_only)
        except FileNotFoundError:
            continue
    return None

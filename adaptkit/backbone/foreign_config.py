"""The `open_clip_config.json` of a backbone that somebody else made: read as data, and only what a model needs.

open_clip hands entries of this file to constructors and to other libraries, which can fetch further files and, asked by
`trust_remote_code`, run code of theirs. So nothing reaches open_clip that is not of a known kind: sizes, switches,
words of one identifier, the name of an architecture that the installed timm has, and names of hub repositories for a
text tower's configuration and vocabulary. Folders, addresses and requests to run code are refused by the name of the
entry.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import timm
from open_clip.coca_model import MultimodalCfg
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.transform import PreprocessCfg

from adaptkit.regular_file import read_json

CONFIG_FILE = "open_clip_config.json"
MAX_CONFIG_BYTES = 2**20
MAX_NUMBER = 2**20  # The largest vocabulary has 256,000 entries.
LARGEST = {"layers": 512, "width": 2**14, "embed_dim": 2**14, "image_size": 2**12, "context_length": 2**14}

MODEL_KEYS = {"embed_dim", "quick_gelu", "init_logit_scale", "init_logit_bias", "nonscalar_logit_scale", "custom_text"}
TOWERS = {"vision_cfg": CLIPVisionCfg, "text_cfg": CLIPTextCfg, "multimodal_cfg": MultimodalCfg}
OWN_WEIGHTS = {"timm_model_pretrained", "hf_model_pretrained"}  # Weights from elsewhere; a backbone brings its own.
HUB_NAMES = {"hf_model_name", "hf_tokenizer_name"}
TOKENIZER_KEYS = {"clean", "strip_sep_token", "language", "reduction_mask", "additional_special_tokens"}
SMALL_SETTINGS = {"act_kwargs", "norm_kwargs"}

WORD = re.compile(r"\w{0,64}", re.ASCII)
HUB_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)


class ForeignConfigError(ValueError):
    """A backbone's config is damaged or asks for more than a model; the message names the entry."""


@dataclass(frozen=True)
class ForeignConfig:
    """A checked config of a backbone."""

    model: dict[str, object]  # What open_clip builds a model from.
    images: dict[str, object]  # Its preprocessing.

    @property
    def text(self) -> dict[str, object]:
        """The text tower's part of the model."""
        section = self.model["text_cfg"]
        assert isinstance(section, dict)
        return section

    def to_json(self) -> str:
        """The file that open_clip reads."""
        return json.dumps({"model_cfg": self.model, "preprocess_cfg": self.images})


def read_foreign_config(path: Path) -> ForeignConfig:
    """A backbone's config, after checking every value in it.

    Raises:
        FileNotFoundError: if there is no such file.
        FileError: if the file is no JSON.
        ForeignConfigError: if it is no config, or an entry is not of the kind that a model needs.
    """
    content = read_json(path, "backbone config", MAX_CONFIG_BYTES)
    if not isinstance(content, dict) or not isinstance(content.get("model_cfg"), dict):
        raise ForeignConfigError(f'{path} has no "model_cfg"; expected the {CONFIG_FILE} that open_clip writes')
    model, images = content["model_cfg"], content.get("preprocess_cfg") or {}
    check_model_config(model, str(path))
    _check_section(images, {field.name for field in fields(PreprocessCfg)}, f"{path}: preprocess_cfg", ignore=True)
    return ForeignConfig(model, images)


def check_model_config(model: Mapping[str, object], place: str) -> None:
    """Check every entry of a "model_cfg".

    Raises:
        ForeignConfigError: names the first entry that a model does not need.
    """
    for key, value in model.items():
        where = f"{place}: model_cfg.{key}"
        if key in TOWERS:
            _check_section(value, {field.name for field in fields(TOWERS[key])}, where)
        elif key in MODEL_KEYS:
            _check_plain(key, value, where)
        else:
            raise _refusal(where, value, f"one of {', '.join(sorted(MODEL_KEYS | TOWERS.keys()))}")
    for key in ("embed_dim", "vision_cfg", "text_cfg"):
        if key not in model:
            raise ForeignConfigError(f"{place}: model_cfg has no {key}, which every backbone has")


def _check_section(section: object, known: set[str], where: str, ignore: bool = False) -> None:
    """Check a section; unknown entries are refused, or left to be ignored where open_clip ignores them."""
    if not isinstance(section, dict):
        raise _refusal(where, section, "an object")
    for key, value in section.items():
        if key not in known and not ignore:
            raise _refusal(f"{where}.{key}", value, f"one of {', '.join(sorted(known))}")
        if key in known:
            _check_entry(key, value, f"{where}.{key}")


def _check_entry(key: str, value: object, where: str) -> None:
    if value is None:
        return
    if key in OWN_WEIGHTS:
        if not isinstance(value, bool):
            raise _refusal(where, value, "true or false")
    elif key == "timm_model_name":
        if not isinstance(value, str) or not re.fullmatch(r"[\w.]+", value, re.ASCII) or not timm.is_model(value):
            raise _refusal(where, value, "the name of an architecture that the installed timm has")
    elif key in HUB_NAMES:
        if not isinstance(value, str) or not HUB_NAME.fullmatch(value) or Path(value).exists():
            raise _refusal(where, value, 'the name of a hub repository, "owner/name", and no path')
    elif key == "tokenizer_kwargs":
        _check_tokenizer(value, where)
    elif key in SMALL_SETTINGS:
        if not isinstance(value, dict):
            raise _refusal(where, value, "an object of numbers and words")
        for name, setting in value.items():
            _check_plain(name, setting, f"{where}.{name}")
    else:
        _check_plain(key, value, where)


def _check_tokenizer(settings: object, where: str) -> None:
    if not isinstance(settings, dict):
        raise _refusal(where, settings, "an object")
    for key, value in settings.items():
        if key not in TOKENIZER_KEYS:
            raise _refusal(f"{where}.{key}", value, f"one of {', '.join(sorted(TOKENIZER_KEYS))}")
        if key == "additional_special_tokens":
            if not isinstance(value, list) or not all(isinstance(token, str) and len(token) < 64 for token in value):
                raise _refusal(f"{where}.{key}", value, "a list of short texts")
        else:
            _check_plain(key, value, f"{where}.{key}")


def _check_plain(key: str, value: object, where: str) -> None:
    """A number of a size that models have, a switch, a word, or up to four numbers."""
    limit = LARGEST.get(key, MAX_NUMBER)
    items = value if isinstance(value, list) and 0 < len(value) <= 4 else [value]
    numbers = [item for item in items if isinstance(item, int | float)]
    if len(numbers) == len(items):
        if not all(abs(number) <= limit for number in numbers):
            raise _refusal(where, value, f"at most {limit}")
    elif value is not None and not (isinstance(value, str) and WORD.fullmatch(value)):
        raise _refusal(where, value, "a number, a switch or a word of letters")


def _refusal(where: str, value: object, expected: str) -> ForeignConfigError:
    written = repr(value)
    shown = written if len(written) <= 60 else f"{written[:57]}..."
    return ForeignConfigError(
        f"{where} is {shown}; expected {expected}. Nothing was loaded: a backbone's config describes a model and can "
        "name no folder, address or code"
    )

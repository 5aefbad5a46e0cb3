"""A model without weights and a tokenizer, by a name of open_clip: from its config, from a local folder, or the hub."""

from collections.abc import Callable, Mapping
from pathlib import Path

import open_clip
from torch import Tensor, nn

from adaptkit.backbone.hub import hub_asked

Folder = str | Path | None  # Of a tokenizer of Hugging Face; None asks the hub.


def new_model(name: str, precision: str, folder: Folder = None, *, quick_gelu: bool = False) -> nn.Module:
    """A model of that architecture with random weights; text towers of Hugging Face get random ones, too.

    Args:
        folder: holds the config.json of a text tower of Hugging Face, which the hub is asked for otherwise.

    Raises:
        FileNotFoundError: if that config is neither there, nor cached, nor to be had.
    """
    options: dict[str, object] = {}
    text = open_clip.get_model_config(name)["text_cfg"]
    if "hf_model_name" in text and folder is not None and (Path(folder) / "config.json").is_file():
        options["text_cfg"] = text | {"hf_model_name": str(folder), "hf_model_pretrained": False}

    def create() -> nn.Module:
        return open_clip.create_model(
            name, precision=precision, load_weights=False, pretrained_text=False, force_quick_gelu=quick_gelu, **options
        )

    if "hf_model_name" not in text or options:
        return create()
    with hub_asked(f"the config of {text['hf_model_name']}, the text tower of {name},"):
        return create()


def tokenizer_of(name: str, folder: Folder = None) -> Callable[..., Tensor]:
    """The tokenizer that belongs to a name of open_clip.

    Args:
        folder: holds it, in Hugging Face's format; None takes the hub's, if the name's is not open_clip's own.

    Raises:
        FileNotFoundError: if it is neither in the folder, nor cached, nor to be had.
        ValueError: if the folder holds something else.
    """
    text = open_clip.get_model_config(name)["text_cfg"]
    if folder is not None:
        return tokenizer_in(folder, text)
    if not any(key in text for key in ("hf_tokenizer_name", "hf_model_name")):
        return open_clip.get_tokenizer(name)
    with hub_asked(f"the tokenizer of {name}"):
        options = {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}
        return open_clip.get_tokenizer(name, **options)


def tokenizer_in(folder: str | Path, text: Mapping[str, object]) -> Callable[..., Tensor]:
    """The tokenizer of Hugging Face in a local folder.

    Args:
        text: open_clip's config of the text tower: its context length, and how it cleans texts.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no tokenizer.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"no folder of a tokenizer at {folder}; give one that `save_pretrained` has written")
    length, options = text.get("context_length", 77), text.get("tokenizer_kwargs", {})
    assert isinstance(options, Mapping)
    try:
        return open_clip.tokenizer.HFTokenizer(str(folder), context_length=length, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{folder} holds no tokenizer of Hugging Face that can be read: {reason}") from error

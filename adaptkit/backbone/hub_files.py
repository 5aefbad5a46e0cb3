"""Single files of the Hugging Face hub, from its cache or fetched."""

from contextlib import nullcontext
from pathlib import Path

from adaptkit.backbone.hub import hub_asked

HUB_PREFIX = "hf-hub:"


def hub_file(place: str, filename: str, *, cached_only: bool = False) -> Path:
    """A file of the repository "hf-hub:owner/name" or "hf-hub:owner/name@revision" in the hub's cache.

    Args:
        cached_only: take it from the cache as it is, without asking the hub for it or for a newer one.

    Raises:
        ValueError: if the place is no name of a repository.
        FileNotFoundError: if the repository has no such file, or it is not cached and the hub is not reached.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    repository, _, revision = place.removeprefix(HUB_PREFIX).partition("@")
    with nullcontext() if cached_only else hub_asked(f"{filename} of {place}"):
        try:
            path = huggingface_hub.hf_hub_download(
                repository, filename, revision=revision or None, local_files_only=cached_only
            )
            return Path(path)
        except HFValidationError:
            raise ValueError(f'{place} is no name of a hub repository; expected "{HUB_PREFIX}owner/name"') from None
        except LocalEntryNotFoundError as error:
            if not cached_only:
                raise
            raise FileNotFoundError(f"{filename} of {place} is not in the hub's cache") from error


def is_cached(place: str, filename: str) -> bool:
    """Whether the hub's cache has the file."""
    try:
        return hub_file(place, filename, cached_only=True).is_file()
    except (ValueError, FileNotFoundError):
        return False

"""Single files of the Hugging Face hub, from its cache or fetched."""

from pathlib import Path

HUB_PREFIX = "hf-hub:"


def hub_file(place: str, filename: str, *, cached_only: bool = False) -> Path:
    """A file of the repository "hf-hub:owner/name" or "hf-hub:owner/name@revision" in the hub's cache.

    Args:
        cached_only: take it from the cache as it is, without asking the hub for it or for a newer one.

    Raises:
        ValueError: if the place is no name of a repository.
        FileNotFoundError: if the repository has no such file, or it is not cached and the hub is not reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = place.removeprefix(HUB_PREFIX).partition("@")
    try:
        return Path(hf_hub_download(repository, filename, revision=revision or None, local_files_only=cached_only))
    except HFValidationError as error:
        raise ValueError(f'{place} is no name of a hub repository; expected "{HUB_PREFIX}owner/name"') from error
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"{filename} of {place} is not in the hub's cache"
            + ("" if cached_only else " and the hub cannot be reached; go online once, or set HF_HOME to a cache")
        ) from error
    except (HfHubHTTPError, OSError) as error:  # The client raises its HTTP library's errors as they are.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise FileNotFoundError(f"the hub does not give {filename} of {place}: {reason}") from error


def is_cached(place: str, filename: str) -> bool:
    """Whether the hub's cache has the file."""
    try:
        return hub_file(place, filename, cached_only=True).is_file()
    except (ValueError, FileNotFoundError):
        return False

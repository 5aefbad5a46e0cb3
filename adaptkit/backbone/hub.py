"""The hub of Hugging Face: whether it can be reached, and one line where what is asked of it cannot be had."""

import logging
import os
import socket
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from urllib.parse import urlsplit

import huggingface_hub.constants

PATIENCE = 3.0  # Seconds to wait for a connection.
# Packages whose errors are about a network or a repository there.
_NETWORK_PACKAGES = ("huggingface_hub", "httpx", "httpcore", "requests", "urllib3", "urllib")


@contextmanager
def hub_asked(what: str) -> Iterator[None]:
    """Inside, files come from the hub or its cache; where the hub is out of reach, from the cache at once.

    Args:
        what: what is asked for, to name it in the error.

    Raises:
        FileNotFoundError: if it is neither in the cache nor to be had.
    """
    host = _unreachable_host()
    with nullcontext() if host is None else _offline():
        try:
            yield
        except Exception as error:
            if not (_is_about_network(error) or (host is not None and isinstance(error, OSError))):
                raise
            raise FileNotFoundError(_line(what, host, error)) from error


def _line(what: str, host: str | None, error: Exception) -> str:
    if host is None and not _is_about_connection(error):
        return f"{what} cannot be had: {str(error).strip().splitlines()[0]}"
    place = host or "its server"
    return (
        f"{what} is not in the local cache, and {place} cannot be reached; connect to the network, or give local "
        "files: checkpoint=... for weights, tokenizer=... for the folder of a tokenizer"
    )


def _unreachable_host() -> str | None:
    """The hub's host if no connection to it comes about, else None; a proxy is taken to work."""
    address = urlsplit(huggingface_hub.constants.ENDPOINT)
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return None
    try:
        port = address.port or (80 if address.scheme == "http" else 443)
        socket.create_connection((address.hostname or "", port), timeout=PATIENCE).close()
    except OSError:
        return address.hostname or huggingface_hub.constants.ENDPOINT
    return None


@contextmanager
def _offline() -> Iterator[None]:
    """Inside, the libraries ask their cache alone, instead of trying again for half a minute, and do not log that."""
    before, logged = huggingface_hub.constants.HF_HUB_OFFLINE, logging.root.manager.disable
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = before
        logging.disable(logged)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_about_network(error: Exception) -> bool:
    return _is_about_connection(error) or any(
        type(one).__module__.startswith(_NETWORK_PACKAGES) for one in _chain(error)
    )


def _is_about_connection(error: Exception) -> bool:
    kinds = (ConnectionError, TimeoutError, socket.gaierror, urllib.error.URLError)
    names = ("ConnectError", "ConnectTimeout", "LocalEntryNotFoundError", "OfflineModeIsEnabled")
    return any(isinstance(one, kinds) or type(one).__name__ in names for one in _chain(error))

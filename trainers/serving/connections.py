"""Connections with an end: a client that sends slowly, or nothing, is let go, and there is room for so many only."""

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from trainers.serving.limits import CONNECTIONS, KEEP_ALIVE_SECONDS, REQUEST_SECONDS


class LimitedConnection(H11Protocol):
    """A connection whose requests have to arrive within `REQUEST_SECONDS`; uvicorn alone waits for ever."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._wait()
        super().on_response_complete()

    def _wait(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._let_go)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _let_go(self) -> None:
        """Close the connection, unless its request has arrived and is being answered."""
        arrived = self.cycle is not None and not self.cycle.more_body
        if arrived and not self.cycle.response_complete:
            self._wait()
        else:
            self.transport.abort()


SERVER_OPTIONS: dict[str, Any] = {
    "http": LimitedConnection,
    "ws": "none",
    "lifespan": "off",
    "timeout_keep_alive": KEEP_ALIVE_SECONDS,
    "log_level": "error",  # Not a line for each request that is no HTTP.
}


def check_port(host: str, port: int) -> None:
    """Refuse an address that the server could not listen at.

    Raises:
        OSError: if another program listens there, or this one may not.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            raise OSError(
                f"cannot listen at {host}, port {port} ({error.strerror}); take another with --port"
            ) from error

"""A server of an adapter in this process, on a free port of the loopback."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from adaptkit import AdaptedCLIP


@contextmanager
def served(method: AdaptedCLIP, max_bytes: int) -> Iterator[tuple[str, int]]:
    """Serve a method with the options of `adaptkit serve`; gives the address."""
    import uvicorn

    from trainers.serving.app import make_app
    from trainers.serving.connections import SERVER_OPTIONS

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = listening.getsockname()
        config = uvicorn.Config(make_app(method, max_bytes, ["127.0.0.1"]), **SERVER_OPTIONS)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield address
        finally:
            server.should_exit = True
            thread.join(10)


def head(size: int, path: str = "/predict", kind: str = "image/png") -> bytes:
    """The head of a request that announces a body."""
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n".encode()


def closed_by_server(connection: socket.socket, seconds: float) -> bool:
    """Whether the other side closes the connection within some seconds."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True

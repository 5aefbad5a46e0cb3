"""What every served page shares: its frame, its headers, and how much it takes from whom.

The body of a POST is the image itself, with its own content type. That is easy to send, needs no copy on disk, and
no page of another origin can send it without a preflight request, which stays unanswered. Unexpected host names
are refused as well: they come from a foreign page whose name was made to point at this machine.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from trainers.serving.uploads import UploadError

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' blob: data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def new_app(hosts: Sequence[str]) -> FastAPI:
    """An application without routes, which answers errors in JSON and sends `HEADERS`.

    Args:
        hosts: host names that requests may use; "*" for any.
    """
    app = FastAPI(title="adaptkit", docs_url=None, redoc_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))

    @app.middleware("http")
    async def add_headers(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await answer(request)
        response.headers.update(HEADERS)
        return response

    @app.exception_handler(UploadError)
    async def refuse(request: Request, error: UploadError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=error.status)

    return app


def page(name: str) -> str:
    """A page of this folder with the style that all share."""
    here = resources.files("trainers.serving")
    style = (here / "page.css").read_text(encoding="utf-8")
    return (here / name).read_text(encoding="utf-8").replace("/* page.css */", style)


class Room:
    """Places for so many uploads at a time; used by one event loop, so that it needs no lock."""

    def __init__(self, places: int):
        self.free = places

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place.

        Raises:
            UploadError: if there is none.
        """
        if not self.free:
            raise UploadError("the server is busy; send the image again in a few seconds", 503)
        self.free -= 1
        try:
            yield
        finally:
            self.free += 1


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Read the image of a request, no further than the limit.

    Raises:
        UploadError: if the body is not sent as an image, or is larger than the limit.
    """
    kind = request.headers.get("content-type", "")
    if not kind.startswith("image/"):
        raise UploadError(f"the content type is {kind or 'missing'!r}; send an image as the body, as image/jpeg", 415)
    data, too_large = bytearray(), f"the upload is larger than {max_bytes / 1e6:g} MB; send a smaller image"
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > 18 or int(announced) > max_bytes):
        raise UploadError(too_large, 413)
    try:
        async for chunk in request.stream():
            data += chunk
            if len(data) > max_bytes:
                raise UploadError(too_large, 413)
    except ClientDisconnect:  # Nobody reads the answer.
        raise UploadError("the client left before the image had arrived", 400) from None
    return bytes(data)

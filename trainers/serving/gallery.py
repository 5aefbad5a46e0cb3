"""The web application of a gallery: a text or an image is looked up, and what is near it is shown with thumbnails.

GET / is the page, GET /index says what is served, GET /search looks up a text, POST /search an image, and
GET /thumbnail/PLACE is a small picture of an entry.
"""

import asyncio
import io
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response
from torch import Tensor

from adaptkit.contract.prediction import preprocess
from adaptkit.regular_file import read_bytes
from trainers.retrieval.gallery import Gallery, Hit, Searches
from trainers.retrieval.towers import PairTowers
from trainers.serving.limits import DECODINGS, MAX_RESULTS, MAX_TEXT, WAITING
from trainers.serving.uploads import UploadError, open_upload
from trainers.serving.web import Room, new_app, page, read_body

THUMBNAIL = 256  # pixels of the longer side
MAX_FILE_BYTES = 2**26  # of an image that a thumbnail is made of
KEPT_SECONDS = 3600  # that a browser keeps a thumbnail

Answer = TypeVar("Answer")


class Searcher:
    """A gallery behind a lock, for one request at a time.

    Args:
        images: the folder that its images lie below; None for the one that it was built from.
        by: what searches its rows; None compares every one.
    """

    def __init__(self, gallery: Gallery, towers: PairTowers, images: Path | None, by: Searches | None):
        self.gallery, self.towers, self.images, self.by = gallery, towers, images, by
        self._lock = threading.Lock()

    def by_text(self, text: str, top: int) -> list[Hit]:
        """What is near a text.

        Raises:
            UploadError: if the adapter has no room for it.
        """
        with self._lock:
            try:
                return self._nearest(self.towers.encode_texts([text]), top)
            except ValueError as error:
                raise UploadError(str(error), 422) from None

    def by_image(self, data: bytes, max_bytes: int, top: int) -> list[Hit]:
        """What is near an image.

        Raises:
            UploadError: if the image is refused.
        """
        pixels = preprocess(self.towers, [open_upload(data, max_bytes)])
        with self._lock:
            return self._nearest(self.towers.encode_images(pixels), top)

    def _nearest(self, query: Tensor, top: int) -> list[Hit]:
        return self.gallery.search(query, min(top, len(self.gallery)), self.by)

    def thumbnail(self, place: int) -> bytes:
        """A small JPEG of an image.

        Raises:
            UploadError: if there is no image of that number, or its file cannot be read any more.
        """
        if self.gallery.meta.kind != "images" or not 0 <= place < len(self.gallery):
            raise UploadError(f"there is no image {place} in this index", 404)
        try:
            data = read_bytes(self.gallery.image(place, self.images), "image", MAX_FILE_BYTES)
        except (ValueError, OSError) as error:
            raise UploadError(str(error), 404) from None
        image = open_upload(data, MAX_FILE_BYTES)
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        content = io.BytesIO()
        image.save(content, "JPEG", quality=85)
        return content.getvalue()


def make_gallery_app(
    gallery: Gallery,
    towers: PairTowers,
    max_bytes: int,
    hosts: Sequence[str],
    images: Path | None = None,
    by: Searches | None = None,
) -> FastAPI:
    """Make the web application that serves one gallery.

    Args:
        max_bytes: largest upload, in bytes.
        hosts: host names that requests may use; "*" for any.
        images: the folder that its images lie below; None for the one that it was built from.
        by: what searches its rows; None compares every one.
    """
    searcher, room = Searcher(gallery, towers, images, by), Room(WAITING)
    workers = ThreadPoolExecutor(DECODINGS)
    app, shown = new_app(hosts), page("gallery.html")
    Top = Annotated[int, Query(ge=1, le=MAX_RESULTS)]

    async def soon(answer: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(workers, answer)

    @app.get("/", response_class=HTMLResponse)
    async def show_page() -> str:
        return shown

    @app.get("/index")
    async def describe() -> dict[str, object]:
        meta = gallery.meta
        return {
            "name": gallery.name,
            "kind": meta.kind,
            "count": meta.count,
            "model": meta.model,
            "adapter": meta.adapter,
            "max_bytes": max_bytes,
        }

    @app.get("/search")
    async def search_text(text: str, top: Top = 24) -> dict[str, object]:
        if not text.strip() or len(text) > MAX_TEXT:
            raise UploadError(f"a text of {len(text)} characters cannot be searched; send 1 to {MAX_TEXT}", 422)
        with room.one():
            return as_results(await soon(partial(searcher.by_text, text.strip(), top)))

    @app.post("/search")
    async def search_image(request: Request, top: Top = 24) -> dict[str, object]:
        with room.one():
            data = await read_body(request, max_bytes)
            return as_results(await soon(partial(searcher.by_image, data, max_bytes, top)))

    @app.get("/thumbnail/{place}")
    async def show_thumbnail(place: int) -> Response:
        with room.one():
            content = await soon(partial(searcher.thumbnail, place))
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": f"private, max-age={KEPT_SECONDS}"})

    return app


def as_results(hits: Sequence[Hit]) -> dict[str, object]:
    """What was found, for programs."""
    return {"results": [{"place": hit.place, "item": hit.item, "similarity": hit.similarity} for hit in hits]}

"""The web application: GET / is the page, GET /adapter says what is served, POST /predict classifies one image."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse

from adaptkit import AdaptedCLIP, Prediction
from adaptkit.contract.answers import Answering
from adaptkit.contract.prediction import predictions, preprocess
from trainers.serving.limits import DECODINGS, MAX_CLASSES, MAX_NAME, WAITING
from trainers.serving.uploads import UploadError, open_upload
from trainers.serving.web import Room, new_app, page, read_body


class Classifier:
    """A method behind a lock, for one request at a time; the classes of the last request stay encoded."""

    def __init__(self, method: AdaptedCLIP):
        if method.sees not in (None, "episodic"):
            raise ValueError(
                f"{type(method).__name__} answers an image by others that it sees ({method.sees}), and a server would "
                "mix those of all clients; serve the method inside it, or call `stream` or `predict` in a program"
            )
        self.method = method.eval()
        self.own = method.classes.classnames
        self._lock = threading.Lock()
        self._encoded = ExitStack()
        self._encoded.enter_context(method.encode_classes_once())

    def classify(self, data: bytes, max_bytes: int, names: Sequence[str], topk: int) -> Prediction:
        """Classify one image among the given class names, or the adapter's own if none are given.

        Raises:
            UploadError: if the image or the names are refused.
        """
        pixels = preprocess(self.method, [open_upload(data, max_bytes)])
        with self._lock:
            self._tell_apart(tuple(names) or self.own)
            return next(predictions(self.method, [pixels], Answering(topk)))

    def _tell_apart(self, names: tuple[str, ...]) -> None:
        if names == self.method.classes.classnames:
            return
        if self.method.bound_to_classes is not None:
            raise UploadError(f"other class names are refused: {self.method.bound_to_classes}", 422)
        if len(names) == 1:
            raise UploadError(f"{names[0]!r} is the only class name, so every image would be it; send two or more", 422)
        self._encoded.close()
        before = self.method.classes
        try:
            self.method.set_classes(list(names))
        except ValueError as error:  # a name is too long for a prompt
            self.method.set_classes(before)
            raise UploadError(str(error), 422) from None
        finally:
            self._encoded.enter_context(self.method.encode_classes_once())


def make_app(method: AdaptedCLIP, max_bytes: int, hosts: Sequence[str]) -> FastAPI:
    """Make the web application that serves one method.

    Args:
        max_bytes: largest upload, in bytes.
        hosts: host names that requests may use; "*" for any.
    """
    classifier, room = Classifier(method), Room(WAITING)
    # Threads of its own, and few: what an image took stays with the thread that decoded it, for the next one.
    workers = ThreadPoolExecutor(DECODINGS)
    app, shown = new_app(hosts), page("classify.html")

    @app.get("/", response_class=HTMLResponse)
    async def show_page() -> str:
        return shown

    @app.get("/adapter")
    async def describe() -> dict[str, object]:
        spec, backbone = method.spec, method.backbone
        return {
            "method": spec.name if spec is not None else type(method).__name__,
            "backbone": str(backbone.source or backbone.name),
            "classes": list(classifier.own),
            "bound": classifier.method.bound_to_classes or "",
            "several_labels": method.label_thresholds is not None,
            "max_bytes": max_bytes,
        }

    @app.post("/predict")
    async def predict(
        request: Request,
        classes: Annotated[list[str] | None, Query()] = None,
        topk: Annotated[int, Query(ge=1, le=MAX_CLASSES)] = 5,
    ) -> dict[str, object]:
        names = class_names(classes or [])
        with room.one():
            data = await read_body(request, max_bytes)
            answer = partial(classifier.classify, data, max_bytes, names, topk)
            prediction = await asyncio.get_running_loop().run_in_executor(workers, answer)
        ranked = zip(prediction.labels, prediction.indices, prediction.probabilities, strict=True)
        said: dict[str, object] = {} if prediction.present is None else {"labels": list(prediction.present)}
        found = [{"label": name, "index": index, "probability": value} for name, index, value in ranked]
        return {**said, "classes": found}

    return app


def class_names(written: Sequence[str]) -> list[str]:
    """The class names of a request, trimmed and without duplicates.

    Raises:
        UploadError: if there are too many names, or one is too long.
    """
    names = list(dict.fromkeys(name.strip() for name in written if name.strip()))
    if len(names) > MAX_CLASSES:
        raise UploadError(f"{len(names)} class names are too many; send at most {MAX_CLASSES}", 422)
    for name in names:
        if len(name) > MAX_NAME:
            raise UploadError(f"the class name {name[:30]!r}... is longer than {MAX_NAME} characters", 422)
    return names

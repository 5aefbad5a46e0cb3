"""The web application: GET / is the page, GET /adapter says what is served, POST /predict classifies one image."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Literal

from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse

from adaptkit import AdaptedCLIP, Prediction
from adaptkit.calibration.calibration import Calibration
from adaptkit.contract.answers import Answering, resolved
from adaptkit.contract.prediction import predictions, preprocess
from trainers.report.decision.reading import Decision
from trainers.serving.about import NOTHING_KNOWN, about
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
        self.own = method.classes
        self._lock = threading.Lock()
        self._encoded = ExitStack()
        self._encoded.enter_context(method.encode_classes_once())

    @property
    def thresholds(self) -> list[float] | None:
        """The score from 0 to 1 from which each label is an answer; None where an image has one class."""
        cuts = self.method.label_thresholds
        return None if cuts is None else cuts.double().sigmoid().tolist()

    def classify(self, data: bytes, max_bytes: int, names: Sequence[str], answering: Answering) -> Prediction:
        """Classify one image among the given class names, or the adapter's own if none are given.

        Raises:
            UploadError: if the image or the names are refused, or no calibration has what is asked for.
        """
        pixels = preprocess(self.method, [open_upload(data, max_bytes)])
        with self._lock:
            self._tell_apart(tuple(names) or self.own.classnames)
            try:
                answering, _ = resolved(self.method, answering)
            except ValueError as error:
                raise UploadError(str(error), 422) from None
            return next(predictions(self.method, [pixels], answering))

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
            # The own classes may have spoken names and sentences, which names alone would not bring back.
            self.method.set_classes(self.own if names == self.own.classnames else list(names))
        except ValueError as error:  # a name is too long for a prompt
            self.method.set_classes(before)
            raise UploadError(str(error), 422) from None
        finally:
            self._encoded.enter_context(self.method.encode_classes_once())


def make_app(method: AdaptedCLIP, max_bytes: int, hosts: Sequence[str], beside: Decision = NOTHING_KNOWN) -> FastAPI:
    """Make the web application that serves one method.

    Args:
        max_bytes: largest upload, in bytes.
        hosts: host names that requests may use; "*" for any.
        beside: what lies beside the adapter, for the page.
    """
    classifier, room = Classifier(method), Room(WAITING)
    # Threads of its own, and few: what an image took stays with the thread that decoded it, for the next one.
    workers = ThreadPoolExecutor(DECODINGS)
    app, shown = new_app(hosts), page("classify.html").replace("<!-- about -->", about(method, beside))

    @app.get("/", response_class=HTMLResponse)
    async def show_page() -> str:
        return shown

    @app.get("/adapter")
    async def describe() -> dict[str, object]:
        spec, backbone = method.spec, method.backbone
        return {
            "method": spec.name if spec is not None else type(method).__name__,
            "backbone": str(backbone.source or backbone.name),
            "classes": list(classifier.own.classnames),
            "bound": classifier.method.bound_to_classes or "",
            "several_labels": method.label_thresholds is not None,
            "thresholds": classifier.thresholds,
            "max_bytes": max_bytes,
            "calibration": _facts(method.calibration),
        }

    @app.post("/predict")
    async def predict(
        request: Request,
        classes: Annotated[list[str] | None, Query()] = None,
        topk: Annotated[int, Query(ge=1, le=MAX_CLASSES)] = 5,
        coverage: Annotated[float | None, Query(gt=0, lt=1)] = None,
        sets: Literal["lac", "aps"] = "lac",
        reject: str | None = None,
    ) -> dict[str, object]:
        names = class_names(classes or [])
        answering = Answering(topk, threshold(reject), coverage=coverage, sets=sets)
        with room.one():
            data = await read_body(request, max_bytes)
            answer = partial(classifier.classify, data, max_bytes, names, answering)
            prediction = await asyncio.get_running_loop().run_in_executor(workers, answer)
        return as_answer(prediction, classifier.thresholds)

    return app


def threshold(written: str | None) -> float | Literal["auto"] | None:
    """The least probability of an answer as a request writes it: a number from 0 to 1, or "auto".

    Raises:
        UploadError: for anything else.
    """
    if written is None:
        return None
    if written == "auto":
        return "auto"
    try:
        value = float(written)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UploadError(f"reject={written[:30]!r}; send a probability from 0 to 1, such as 0.8, or auto", 422)
    return value


def as_answer(prediction: Prediction, thresholds: Sequence[float] | None = None) -> dict[str, object]:
    """A prediction for programs: the answer, the most probable classes, and the set where a coverage was asked for.

    Args:
        thresholds: the score from which each label is an answer, where an image may have several.
    """
    ranked = zip(prediction.labels, prediction.indices, prediction.probabilities, strict=True)
    classes: list[dict[str, object]] = [
        {"label": name, "index": index, "probability": value} for name, index, value in ranked
    ]
    if thresholds is not None:
        for one, index in zip(classes, prediction.indices, strict=True):
            one["threshold"] = thresholds[index]
    answer: dict[str, object] = {
        "label": prediction.label,
        "rejected": prediction.rejected,
        "calibrated": prediction.calibrated,
        "classes": classes,
    }
    if prediction.present is not None:
        answer["labels"] = list(prediction.present)
    if prediction.members is not None:
        members = zip(prediction.members, prediction.member_indices, strict=True)
        answer["set"] = [{"label": name, "index": index} for name, index in members]
    return answer


def _facts(calibration: Calibration | None) -> dict[str, object] | None:
    """What a page says of a calibration."""
    if calibration is None:
        return None
    return {
        "temperature": calibration.temperature,
        "source": calibration.source,
        "images": len(calibration),
        "ece": {"before": calibration.ece[0], "after": calibration.ece[1]},
        "unknown": None if calibration.unknown is None else calibration.unknown.threshold,
    }


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

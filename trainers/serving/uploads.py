"""Decode uploaded bytes to an RGB image, or refuse them with a message that is safe to show to the sender."""

import io
import warnings

from PIL import Image

from adaptkit.contract.prediction import UNREADABLE, read_image
from trainers.serving.limits import FORMATS, MAX_PIXELS


class UploadError(ValueError):
    """A refused upload; `status` is the HTTP status code of the answer."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


def open_upload(data: bytes, max_bytes: int) -> Image.Image:
    """Decode an upload after checking its size, then its header, and only then its pixels.

    Raises:
        UploadError: if the upload is too large, has an unknown format, has too many pixels, or is damaged.
    """
    if len(data) > max_bytes:
        raise UploadError(f"the upload is larger than {max_bytes / 1e6:g} MB; send a smaller image", 413)
    if not data:
        raise UploadError("the upload is empty; send an image", 400)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is below PIL's
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise UploadError(f"the image has more than {MAX_PIXELS:,} pixels; send a smaller one", 413)
        image.load()
        return read_image(image)
    except UploadError:
        raise
    except Image.DecompressionBombError:
        raise UploadError(f"the image has more than {MAX_PIXELS:,} pixels; send a smaller one", 413) from None
    except Image.UnidentifiedImageError:
        raise UploadError(f"the upload is no image; send {', '.join(FORMATS)}", 415) from None
    except UNREADABLE as error:
        raise UploadError(f"the image is damaged: {str(error)[:100]}", 422) from None

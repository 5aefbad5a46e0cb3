"""Pack one archive of images per source, and the split files that point into it; every build gives the same bytes."""

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

QUALITY = 80
Row = tuple[str, int, str]  # (path in the archive, label, class name)


@dataclass(frozen=True)
class Suite:
    """A data set to ship: three lists of rows into one archive, and their sources."""

    name: str
    archive: str
    train: list[Row]
    val: list[Row]
    test: list[Row]
    families: dict[str, list[str]]  # "train", "val" or "test" -> the drawing families in that list
    sources: list[str]  # keys of `sources.SOURCES`

    @property
    def facts(self) -> dict[str, int | str | list[str] | list[int] | dict[str, list[str]]]:
        """The data set's row of suite.json."""
        return {
            "classes": len({label for _, label, _ in self.test}),
            "train": len(self.train),
            "val": len(self.val),
            "test": len(self.test),
            "archive": self.archive,
            "families": self.families,
            "sources": self.sources,
        }


def on_white(picture: np.ndarray) -> Image.Image:
    """Turn RGBA with straight alpha into RGB on white."""
    image = Image.fromarray(picture)
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def webp(image: Image.Image, *, lossless: bool = False) -> bytes:
    """Encode an image as WebP: quality 80, or lossless, which is smaller for tiny grey images."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=6, lossless=lossless)
    return buffer.getvalue()


def write_archive(path: Path, members: Mapping[str, bytes]) -> None:
    """Write an uncompressed zip whose bytes depend on the members only: names are sorted and no time is stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), members[name])


def write_rows(path: Path, suite: Suite) -> None:
    """Write the split file in the format of the papers' split files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lists = {"train": suite.train, "val": suite.val, "test": suite.test}
    text = json.dumps(lists, ensure_ascii=False, separators=(",", ":"))
    path.write_text(text.replace('],["', '],\n["') + "\n", encoding="utf-8")


def label_rows(rows: Iterable[tuple[str, str]], classnames: list[str]) -> list[Row]:
    """Turn (path, class name) into (path, label, class name), with labels in the order of `classnames`."""
    labels = {name: label for label, name in enumerate(classnames)}
    return [(path, labels[name], name) for path, name in rows]

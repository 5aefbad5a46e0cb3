"""What lies among the images and is none to us: counted, so that nothing is left out in silence."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from datasets_fewshot.images.read import IMAGE_SUFFIXES, READERS, UNREAD_SUFFIXES
from datasets_fewshot.splits.validation import NAMES_SHOWN

BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")  # of image files


def is_printable(name: str) -> bool:
    """Whether a name is text; the names of files may hold bytes that are none."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass
class LeftOut:
    """Files that were left out, by the reason."""

    formats: Counter[str] = field(default_factory=Counter)  # endings of image formats that are not read
    nameless: list[str] = field(default_factory=list)  # images without an ending
    special: list[str] = field(default_factory=list)  # pipes, sockets and devices, and links to them
    odd_names: list[str] = field(default_factory=list)  # names that are no text

    def add(self, path: Path) -> None:
        """Count a file that is not taken."""
        suffix = path.suffix.lower()
        if not is_printable(path.name):
            self.odd_names.append(path.name)
        elif not path.is_file():
            if path.exists():
                self.special.append(path.name)
        elif suffix in UNREAD_SUFFIXES - IMAGE_SUFFIXES:
            self.formats[suffix] += 1
        elif not suffix and _begins_like_an_image(path):
            self.nameless.append(path.name)

    def notes(self) -> list[str]:
        """A note for every reason."""
        notes = []
        for suffix, count in self.formats.most_common():
            package = READERS.get(suffix)
            how = f"`pip install {package}` reads them, or convert" if package else "convert"
            notes.append(f"{count} files that end in {suffix} were left out; {how} them to .jpg or .png")
        if self.nameless:
            notes.append(
                f"{len(self.nameless)} images without an ending were left out, such as {self.nameless[0]!r}; rename "
                "them to end in .jpg or .png"
            )
        if self.special:
            shown = ", ".join(repr(name) for name in self.special[:NAMES_SHOWN])
            notes.append(f"{len(self.special)} pipes, sockets or devices were left out: {shown}")
        if self.odd_names:
            shown = ascii(self.odd_names[0])
            notes.append(
                f"{len(self.odd_names)} files or folders were left out, because their names are not in UTF-8, such as "
                f"{shown}; rename them"
            )
        return notes


def _begins_like_an_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(8).startswith(BEGINNINGS)
    except OSError:
        return False

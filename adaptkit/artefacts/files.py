"""Reading an artefact from a folder, a zip archive or a hub repository, all in the same way.

Nothing is extracted: only the files with known names are read from an archive, into memory, up to a limit that is
checked before and during reading.
"""

import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from adaptkit.artefacts.config import ArtefactError
from adaptkit.artefacts.names import CALIBRATION_FILE, CARD_FILE, CONFIG_FILE, TENSORS_FILE
from adaptkit.regular_file import user_path

HUB_PREFIX = "hf-hub:"

MAX_CONFIG_BYTES = 2**26  # 64 MiB, a hundred times the names of ImageNet-21k; of a calibration a million images.
MAX_TENSORS_BYTES = 2**32  # 4 GiB unpacked.
MAX_PACKING = 200  # Unpacked bytes per packed byte; learnt numbers hardly pack at all.
SMALL_BYTES = 2**26  # Unpacked bytes; smaller files may pack at any ratio.


@dataclass(frozen=True)
class ArtefactFiles:
    """The content of an artefact's files."""

    place: str  # The place that error messages name.
    config: str  # JSON text.
    tensors: bytes  # Bytes in the safetensors format.
    calibration: str | None = None  # JSON text; None where it was not calibrated.


def read_files(place: str | Path) -> ArtefactFiles:
    """Read an artefact from a folder, a zip archive, or "hf-hub:owner/name" with or without "@revision".

    Raises:
        FileNotFoundError: if there is nothing there, or a file of the artefact is missing.
        ArtefactError: if the archive is damaged or plays tricks with paths or sizes.
        OSError: if the hub cannot be reached and its cache has no copy.
    """
    if str(place).startswith(HUB_PREFIX):
        return _read_folder(_hub_folder(str(place)), str(place))
    path = user_path(place, "adapter")
    if path.is_dir():
        return _read_folder(path, str(place))
    if not path.exists():
        raise FileNotFoundError(f'no adapter at {place}; give a folder, a zip archive or "{HUB_PREFIX}owner/name"')
    if not path.is_file() or not zipfile.is_zipfile(path):  # a pipe would be waited for
        raise ArtefactError(f"{place} is neither a folder nor a zip archive; give what `save_pretrained` wrote")
    return _read_archive(path)


def _read_folder(folder: Path, place: str) -> ArtefactFiles:
    contents = []
    for name, limit in ((CONFIG_FILE, MAX_CONFIG_BYTES), (TENSORS_FILE, MAX_TENSORS_BYTES)):
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{place} has no {name}; an adapter is a {CONFIG_FILE} beside a {TENSORS_FILE}")
        _check_size(place, name, path.stat().st_size, limit)
        contents.append(path.read_bytes())
    calibration, path = None, folder / CALIBRATION_FILE
    if path.is_file():
        _check_size(place, CALIBRATION_FILE, path.stat().st_size, MAX_CONFIG_BYTES)
        calibration = _text(path.read_bytes(), place, CALIBRATION_FILE)
    return ArtefactFiles(place, _text(contents[0], place), contents[1], calibration)


def _read_archive(path: Path) -> ArtefactFiles:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _known_entries(archive, str(path))
            contents = {name: _read_entry(archive, entry, str(path)) for name, entry in entries.items()}
    except (ArtefactError, FileNotFoundError):
        raise
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise ArtefactError(f"{path} is not a readable zip archive: {error}") from error
    calibration = contents.get(CALIBRATION_FILE)
    return ArtefactFiles(
        str(path),
        _text(contents[CONFIG_FILE], str(path)),
        contents[TENSORS_FILE],
        None if calibration is None else _text(calibration, str(path), CALIBRATION_FILE),
    )


def _known_entries(archive: zipfile.ZipFile, place: str) -> dict[str, zipfile.ZipInfo]:
    """The artefact's entries by file name; all of them lie in one folder of the archive, at its top or one below."""
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        path = PurePosixPath(entry.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in entry.filename:
            raise ArtefactError(
                f"{place} holds {entry.filename!r}, a path that leads out of the archive; do not trust it"
            )
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise ArtefactError(f"{place} holds {entry.filename!r}, which is a link; zip the files themselves")
        if path.name in (CONFIG_FILE, TENSORS_FILE) and len(path.parts) <= 2:
            if path.name in found:
                raise ArtefactError(f"{place} holds more than one {path.name}; zip one adapter at a time")
            found[path.name] = entry
    for name in (CONFIG_FILE, TENSORS_FILE):
        if name not in found:
            raise FileNotFoundError(f"{place} has no {name}; an adapter is a {CONFIG_FILE} beside a {TENSORS_FILE}")
    if len({PurePosixPath(entry.filename).parent for entry in found.values()}) > 1:
        raise ArtefactError(f"{place} holds {CONFIG_FILE} and {TENSORS_FILE} in two folders; zip one adapter at a time")
    beside = PurePosixPath(found[CONFIG_FILE].filename).parent / CALIBRATION_FILE
    calibrations = [entry for entry in archive.infolist() if PurePosixPath(entry.filename) == beside]
    if len(calibrations) > 1:
        raise ArtefactError(f"{place} holds more than one {CALIBRATION_FILE}; zip one adapter at a time")
    if calibrations:
        found[CALIBRATION_FILE] = calibrations[0]
    return found


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, place: str) -> bytes:
    """Content of an entry; its declared size is checked first, and `zipfile` reads no more than that."""
    name = PurePosixPath(entry.filename).name
    _check_size(place, name, entry.file_size, MAX_TENSORS_BYTES if name == TENSORS_FILE else MAX_CONFIG_BYTES)
    if entry.file_size > max(SMALL_BYTES, MAX_PACKING * entry.compress_size):
        raise ArtefactError(
            f"{place} packs {entry.file_size} bytes of {name} into {entry.compress_size}, as zip bombs do; "
            "unpack it yourself if you trust it, and load the folder"
        )
    with archive.open(entry) as file:
        return file.read(entry.file_size)


def _check_size(place: str, name: str, size: int, limit: int) -> None:
    if size > limit:
        raise ArtefactError(f"the {name} of {place} has {size} bytes; an adapter's has at most {limit}")


def _text(content: bytes, place: str, name: str = CONFIG_FILE) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArtefactError(f"the {name} of {place} is no text: {error}") from None


def _hub_folder(place: str) -> Path:
    """Folder of the repository in the hub's cache; missing files are fetched if the network is up."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = place.removeprefix(HUB_PREFIX).partition("@")
    try:
        folder = snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=[CONFIG_FILE, TENSORS_FILE, CARD_FILE, CALIBRATION_FILE],
        )
    except HFValidationError as error:
        raise ArtefactError(f'{place} is no name of a hub repository; expected "{HUB_PREFIX}owner/name"') from error
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"{place} is not in the hub's cache and the hub cannot be reached; go online once, or set HF_HOME to a "
            "cache that has it"
        ) from error
    except HfHubHTTPError as error:
        raise FileNotFoundError(f"the hub does not give {place}: {str(error).splitlines()[0]}") from error
    return Path(folder)

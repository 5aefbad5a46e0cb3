"""A bank of descriptions: unit text embeddings of images' descriptions, each row bound to its file by a digest.

Descriptions are JSON lines {"filename": ..., "description": ...}; a file may come several times. A bank is a
safetensors file: the embeddings, a digest of each row's file name and embedding, and a header with the file names and
the hash of the weights that encoded the texts. A row that slips by one no longer has the digest of its file.

Departure: the released code stores one tensor in the order of the data set, in which a shift goes unnoticed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from adaptkit.artefacts.atomic_file import replacing
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.layers.image_texts import fit_texts
from adaptkit.regular_file import MAX_BYTES, read_bytes, read_text, user_path

FORMAT = "adaptkit-descriptions/1"
WHAT = "file of descriptions"
SUFFIX = ".safetensors"
TEXTS_PER_PASS = 256
SHOWN = 60  # characters of a line in an error


@dataclass(frozen=True)
class DescriptionBank:
    """Embeddings of descriptions, one row per description.

    Raises:
        ValueError: if a row's digest is not that of its file name and embedding.
    """

    names: tuple[str, ...]  # M files; one that comes again has several descriptions
    embeddings: Tensor  # (M, D_t) unit rows, float32
    model: str  # hash of the weights that encoded the texts
    digests: tuple[str, ...]

    def __post_init__(self) -> None:
        if not (len(self.names) == len(self.embeddings) == len(self.digests)):
            raise ValueError(
                f"the bank has {len(self.names)} names, {len(self.embeddings)} embeddings and {len(self.digests)} "
                "digests; build it again"
            )
        for row, (name, own) in enumerate(zip(self.names, row_digests(self.names, self.embeddings), strict=True)):
            if own != self.digests[row]:
                raise ValueError(
                    f"row {row} of the bank is not the one that was written for {name!r}, so rows are shifted or "
                    "damaged; build the bank again"
                )

    def check_order(self, files: Sequence[str]) -> None:
        """Refuse a list of files that is not row by row the bank's, as one that is shifted by one.

        Raises:
            ValueError: names the first row that differs.
        """
        if len(files) != len(self.names):
            raise ValueError(f"{len(files)} files for a bank of {len(self.names)} rows; give one for each")
        for row, (file, name) in enumerate(zip(files, self.names, strict=True)):
            if file != name:
                raise ValueError(f"row {row} of the bank is of {name!r}, not of {file!r}; look rows up by name")

    def save(self, path: str | Path) -> Path:
        """Write the bank, whole or not at all."""
        place = user_path(path, WHAT)
        header = {
            "format": FORMAT,
            "model": self.model,
            "names": json.dumps(self.names),
            "digests": json.dumps(self.digests),
        }
        with replacing(place) as temporary:
            temporary.write_bytes(safetensors.torch.save({"embeddings": self.embeddings.cpu().contiguous()}, header))
        return place

    @classmethod
    def load(cls, path: str | Path) -> "DescriptionBank":
        """Read a bank that `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is no bank, or a row is not the one that was written for its file.
        """
        content = read_bytes(path, WHAT, MAX_BYTES)
        try:
            tensors = safetensors.torch.load(content)
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
            if header["format"] != FORMAT:
                raise ValueError(f"its format is {header['format']!r}, not {FORMAT!r}")
            names, digests = json.loads(header["names"]), json.loads(header["digests"])
            embeddings = tensors["embeddings"].float()
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no bank of descriptions ({error}); build one with build_description_bank"
            ) from None
        return cls(tuple(names), embeddings, header["model"], tuple(digests))


def row_digests(names: Sequence[str], embeddings: Tensor) -> list[str]:
    """For each row a digest of its file name and its embedding (M, D_t): 16 hexadecimal digits."""
    rows = embeddings.detach().cpu().float().contiguous().numpy()
    return [
        sha256(name.encode() + b"\0" + row.tobytes()).hexdigest()[:16] for name, row in zip(names, rows, strict=True)
    ]


def read_descriptions(path: str | Path) -> list[tuple[str, str]]:
    """Pairs (file, description) of a file of JSON lines; lines with a blank description are left out.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a line is not {"filename": ..., "description": ...}; the message names it.
    """
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(read_text(path, WHAT).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            file, description = entry["filename"], entry["description"]
        except (ValueError, KeyError, TypeError, RecursionError):
            file, description = None, None
        if not isinstance(file, str) or not isinstance(description, str):
            raise ValueError(
                f'{path}, line {number}: {line[:SHOWN]!r}; expected {{"filename": "...", "description": "..."}}'
            )
        if description.strip():
            pairs.append((file.strip(), description.strip()))
    if not pairs:
        raise ValueError(f"{path} has no description; write one JSON object with filename and description in a line")
    return pairs


@torch.no_grad()
def build_description_bank(source: str | Path | Sequence[tuple[str, str]], backbone: FrozenCLIP) -> DescriptionBank:
    """Encode descriptions with the text tower of a backbone as it was loaded; texts that are too long are cut.

    Args:
        source: a file of JSON lines, or pairs (file, description).
    """
    pairs = read_descriptions(source) if isinstance(source, str | Path) else list(source)
    names, texts = tuple(name for name, _ in pairs), fit_texts([text for _, text in pairs], backbone.tokenizer)
    tower = backbone.as_loaded()
    passes = [texts[start : start + TEXTS_PER_PASS] for start in range(0, len(texts), TEXTS_PER_PASS)]
    features = torch.cat([at_least_fp32(tower.encode_text(some)) for some in passes])
    embeddings = F.normalize(features, dim=-1).float()
    return DescriptionBank(names, embeddings, backbone.weights_hash, tuple(row_digests(names, embeddings)))

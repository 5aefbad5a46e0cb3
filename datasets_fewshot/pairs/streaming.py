"""Read webdataset shards as a stream: images with captions, in an order that a seed fixes, on any number of workers.

A consumer is one worker process of one node. Every consumer takes its own shards, so that together they read each
sample once. Every pair says how many samples its consumer has taken, and a stream can be taken up from such counts.
"""

import io
import random
import tarfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info

from adaptkit.pixels import DAMAGED, as_rgb, prepare_reading, upright
from adaptkit.regular_file import FileError, open_regular, user_path
from datasets_fewshot.images.archives import END_OF_TAR, MAX_IMAGE_BYTES
from datasets_fewshot.images.read import IMAGE_SUFFIXES, Reading
from datasets_fewshot.own.found import Part
from datasets_fewshot.own.shards import is_shards, list_shards
from datasets_fewshot.pairs.sample_texts import sample_captions
from datasets_fewshot.splits.validation import NAMES_SHOWN, SplitError

SHUFFLED = 1000  # samples among which the next one is drawn
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
INSTALL = "streaming shards needs webdataset; run: pip install 'adaptkit-clip[pairs]'"
KEY, SHARD = "__key__", "__url__"  # webdataset's names for the key and the shard of a sample

Sample = Mapping[str, Any]  # a member's ending -> its bytes, and the key and the shard
Member = dict[str, Any]  # as webdataset has a file of a shard: fname, data and the shard


@dataclass(frozen=True, slots=True)
class StreamedPair:
    """One image with all its captions, and its place in the stream."""

    image: Image.Image  # RGB
    captions: tuple[str, ...]  # at least one, none empty
    key: str
    shard: str
    consumer: int  # node * workers + worker, counted from 0
    count: int  # how many samples the consumer has taken, with this one


class PairStream(IterableDataset[StreamedPair]):
    """Images with captions from shards, for a DataLoader or a loop; one pass is one epoch.

    What cannot be read is counted, and nothing else is lost: a broken shard gives the samples before the break, and
    the next shard follows. `notes` says what was left out; a worker process says it in a warning at its end.
    """

    def __init__(
        self,
        shards: str | Path,
        *,
        part: Part | None = None,
        seed: int = 0,
        epoch: int = 0,
        shuffled: int = SHUFFLED,
        skip: int | Mapping[int, int] = 0,
        reading: Reading = "upright",
    ):
        """Find the shards; nothing of them is read yet.

        Args:
            shards: a folder of .tar files, perhaps below train/, val/ and test/, a .tar, or a .txt list of them.
            part: only the shards in the folder of this part.
            seed: of the order of shards and samples, together with `epoch`.
            shuffled: samples of a consumer among which the next is drawn; 0 keeps the order of shards and samples.
            skip: how many samples a consumer has taken before, the `count` of its last pair: a number for one consumer,
                or consumer -> number. Those are passed over without being decoded.

        Raises:
            FileNotFoundError, SplitError: if there are no shards.
            ValueError: if a number is below 0.
            ImportError: if webdataset is not installed.
        """
        require_webdataset()
        counts = [skip] if isinstance(skip, int) else list(skip.values())
        if min([seed, epoch, shuffled, *counts]) < 0:
            raise ValueError(f"seed {seed}, epoch {epoch}, shuffled {shuffled} and skip {skip} have to be 0 or more")
        place = user_path(shards, "folder of shards")
        if not place.exists():
            raise FileNotFoundError(
                f"there is nothing at {str(place)!r}; give a folder of .tar files, a .tar or a list"
            )
        if not is_shards(place):
            raise SplitError(
                f"{str(place)!r} holds no .tar files; give a folder of shards, a .tar or a .txt list of them"
            )
        root = place if place.is_dir() else place.parent
        self.shards = tuple(root / name for name, own in list_shards(place) if part in (None, own))
        if not self.shards:
            raise SplitError(f"{str(place)!r} has no shards" + (f" in a folder {part!r}" if part else ""))
        self.seed, self.epoch, self.shuffled, self.skip, self.reading = seed, epoch, shuffled, skip, reading
        self._left_out: Counter[str] = Counter()
        self._broken: list[str] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """What the passes of this process have left out so far."""
        notes = [f"{count} samples {why} and were left out" for why, count in sorted(self._left_out.items())]
        if self._broken:
            shown = ", ".join(self._broken[:NAMES_SHOWN])
            notes.append(f"{len(self._broken)} shards broke off or cannot be read: {shown}")
        return tuple(notes)

    def __iter__(self) -> Iterator[StreamedPair]:
        """One pass over this consumer's shards.

        Raises:
            ValueError: if there are fewer shards than consumers, or `skip` is one number and they are several.
            SplitError: if a pass over all shards gives nothing, because they cannot be read.
        """
        from webdataset import filters
        from webdataset.utils import pytorch_worker_info

        node, nodes, worker, workers = pytorch_worker_info()
        consumer, consumers = node * workers + worker, nodes * workers
        if consumers > len(self.shards):
            raise ValueError(
                f"{len(self.shards)} shards cannot be shared among {consumers} consumers ({nodes} nodes with {workers} "
                f"workers each); lower the workers, or write more shards"
            )
        before, passed = self.notes, self._passed_over(consumer, consumers)
        samples: Iterator[Sample] = self._samples(self._order()[consumer::consumers])
        if self.shuffled:
            rng = random.Random(f"{self.seed} {self.epoch} {consumer} samples")
            samples = filters.shuffle(self.shuffled, initial=self.shuffled, rng=rng)(samples)
        count = passed
        for sample in islice(samples, passed, None):
            count += 1
            if (image := self._image(sample)) is not None:
                yield StreamedPair(image, sample["captions"], sample[KEY], sample[SHARD], consumer, count)
        if consumers == 1 and not count and self._broken:
            raise SplitError(f"none of the {len(self.shards)} shards gives a pair: {'; '.join(self.notes)}")
        if get_worker_info() is not None and self.notes != before:
            warnings.warn(f"worker {worker}: {'; '.join(self.notes)}", stacklevel=2)

    def _order(self) -> list[Path]:
        """The shards in the order of this epoch, the same for all consumers."""
        order = list(self.shards)
        if self.shuffled:
            random.Random(f"{self.seed} {self.epoch} shards").shuffle(order)
        return order

    def _passed_over(self, consumer: int, consumers: int) -> int:
        if not isinstance(self.skip, int):
            return self.skip.get(consumer, 0)
        if self.skip and consumers > 1:
            raise ValueError(
                f"skip is {self.skip}, and {consumers} consumers each have a count of their own; give "
                "consumer -> count, from the last pair of each"
            )
        return self.skip

    def _samples(self, shards: Sequence[Path]) -> Iterator[Sample]:
        """Samples with an image and captions; the others are counted."""
        from webdataset.tariterators import group_by_keys

        # Shard by shard, so that no sample reaches into the next one.
        grouped = (group_by_keys(self._members(shard), handler=self._count_repeated) for shard in shards)
        for sample in chain.from_iterable(grouped):
            endings = [ending for ending in sample if not ending.startswith("__")]
            if not any(f".{ending}" in IMAGE_SUFFIXES for ending in endings):
                self._left_out["have no image"] += 1
                continue
            try:
                written, _ = sample_captions(endings, sample.__getitem__, Path(sample[SHARD]) / sample[KEY])
            except FileError:
                self._left_out["have captions that cannot be read"] += 1
                continue
            captions = tuple(dict.fromkeys(" ".join(caption.split()) for caption in written if caption.strip()))
            if captions:
                yield {**sample, "captions": captions}
            else:
                self._left_out["have no caption"] += 1

    def _members(self, shard: Path) -> Iterator[Member]:
        """The files of a shard, as far as they can be read; it is counted if that is not to its end."""
        try:
            with open_regular(shard, "shard") as file:
                _refuse_compressed(file.read(8), shard)
                file.seek(0)
                with tarfile.open(fileobj=file, mode="r|") as tar:
                    yield from _files(tar, shard)
                    file.seek(tar.offset)
                # tarfile takes a cut or damaged header for the end.
                if file.read(tarfile.BLOCKSIZE) != END_OF_TAR:
                    raise FileError("it has no end mark, so more may have followed")
        except (OSError, ValueError, EOFError, tarfile.TarError) as error:
            self._broken.append(f"{shard.name} ({error})")

    def _image(self, sample: Sample) -> Image.Image | None:
        ending = next(ending for ending in sample if f".{ending}" in IMAGE_SUFFIXES)
        prepare_reading(f"{sample[KEY]}.{ending}")
        try:
            with Image.open(io.BytesIO(sample[ending])) as image:
                image.load()
                return upright(image) if self.reading == "upright" else as_rgb(image)
        except DAMAGED:
            self._left_out["have an image that cannot be read"] += 1
            return None

    def _count_repeated(self, error: Exception) -> bool:
        """Go on after a member whose name is in the shard twice."""
        if not isinstance(error, ValueError):
            raise error
        self._left_out["repeat a member"] += 1
        return True


def require_webdataset() -> None:
    """Raise an ImportError that says what to install, unless webdataset is there."""
    try:
        import webdataset  # noqa: F401
    except ImportError as error:
        raise ImportError(INSTALL) from error


def _files(tar: tarfile.TarFile, shard: Path) -> Iterable[Member]:
    for info in tar:
        name = info.name.rpartition("/")[2]
        if not info.isfile() or name.startswith(".") or name.startswith("__"):
            continue
        if info.size > MAX_IMAGE_BYTES:
            raise FileError(f"its member {info.name!r} has {info.size} bytes; at most {MAX_IMAGE_BYTES} are read")
        file = tar.extractfile(info)
        assert file is not None  # it is a file
        yield {"fname": info.name, "data": file.read(), SHARD: str(shard)}
        tar.members = []  # type: ignore[attr-defined]  # they would gather in memory


def _refuse_compressed(start: bytes, shard: Path) -> None:
    kind = next((name for mark, name in COMPRESSED.items() if start.startswith(mark)), None)
    if kind:
        raise FileError(f"it is compressed with {kind}; write plain .tar")

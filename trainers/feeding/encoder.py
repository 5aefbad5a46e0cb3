"""Encode every image and view once per (weights, transform, files), and keep the frozen features on disk."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.preprocess import PreprocessConfig
from adaptkit.backbone.test_views import TestViews
from datasets_fewshot import FeatureKey, FeatureStore, FewShotDataset, Item, eval_transform, files_hash, train_transform
from trainers.compute.precision import Precision, autocast
from trainers.compute.seeds import seeded
from trainers.config.training import PAPERS_MIN_AREA, ViewConfig
from trainers.feeding.kept_pixels import KeptPixels
from trainers.feeding.test_views import Prepares, TestViewImages
from trainers.feeding.token_table import MOST_BYTES, TokenTable, pack, packed_width, unpack
from trainers.feeding.views import view_seed

ENCODE_BATCH = 256  # images per call of the image tower
VIEWS_PER_DECODE = 8  # random views cut out of an image each time it is decoded


@dataclass(frozen=True)
class ViewImages(Dataset[Tensor]):
    """Dataset of views as pixels: index -> (V', 3, H, W) for the item and the V' view numbers of `places[index]`."""

    dataset: FewShotDataset
    places: tuple[tuple[Item, tuple[int, ...]], ...]
    preprocess: PreprocessConfig
    augmented: bool
    seed: int
    min_area: float = PAPERS_MIN_AREA
    kept: KeptPixels | None = None  # a memory of decoded pixels, used for images without augmentation only

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Tensor:
        item, views = self.places[index]
        if not self.augmented:
            return self._evaluation_view(item).unsqueeze(0)
        image = self.dataset.load(item)
        seeds = [view_seed(self.seed, item.path, view) for view in views]
        return torch.stack([random_view(image, self.preprocess, seed, self.min_area) for seed in seeds])

    def _evaluation_view(self, item: Item) -> Tensor:
        if self.kept is None:
            return eval_view(self.dataset.load(item), self.preprocess)
        key = (self.dataset.path(item), self.dataset.reading, self.preprocess)
        return self.kept.get(key, lambda: eval_view(self.dataset.load(item), self.preprocess))


def eval_view(image: Image.Image, preprocess: PreprocessConfig) -> Tensor:
    """Preprocess an image as for testing: (3, H, W)."""
    p = preprocess
    return eval_transform(_side(p), p.mean, p.std, p.interpolation, p.resize_mode)(image)


def random_view(
    image: Image.Image, preprocess: PreprocessConfig, seed: int, min_area: float = PAPERS_MIN_AREA
) -> Tensor:
    """Draw the random training view of a seed, a crop of at least `min_area` of the image: (3, H, W)."""
    p = preprocess
    with seeded(seed, torch.device("cpu")):
        return train_transform(_side(p), p.mean, p.std, p.interpolation, min_area)(image)


def _side(preprocess: PreprocessConfig) -> int:
    height, width = preprocess.image_size
    if height != width:
        raise ValueError(f"the backbone takes images of {height} x {width} pixels; only square ones are supported")
    return height


class ImageEncoder:
    """Encodes images with a frozen tower, or maps stored features from disk.

    Args:
        kept: memory of decoded pixels, shared with the runs; not used when worker processes decode.
    """

    def __init__(
        self,
        backbone: FrozenCLIP,
        store: FeatureStore,
        precision: Precision,
        workers: int = 0,
        kept: KeptPixels | None = None,
    ):
        self.backbone = backbone
        self.store = store
        self.precision = precision
        self.workers = workers
        self.kept = None if workers else kept

    def test_features(self, dataset: FewShotDataset, items: Sequence[Item]) -> Tensor:
        """Features of images that a method is tested on: (N, D) fp32 on the CPU, not normalised.

        Those of a data set's test list are encoded all together, once for every protocol and half of the classes.
        """
        every = _together(dataset, items)
        rows = {item.path: row for row, item in enumerate(every)}
        return self.plain_features(dataset, every)[[rows[item.path] for item in items]]

    def has_test_features(self, dataset: FewShotDataset) -> bool:
        """Whether the features of all test images of a data set are stored already."""
        images, ordered = self._plain(dataset, dataset.split.test)
        return self.store.has(self._key(images, ordered, 1), len(ordered))

    def test_view_features(
        self, dataset: FewShotDataset, items: Sequence[Item], views: TestViews
    ) -> Tensor | Iterator[Tensor]:
        """Features of test images in several views, not normalised: (N, V, D) fp32 on the CPU, encoded once and kept.

        Where they would take too much space, they are encoded as they are asked for: (V, D), one image after another.
        """
        every = _together(dataset, items)
        if 2 * len(every) * views.count * self.backbone.embed_dim * 4 > MOST_BYTES:
            return (part for batch in self.encoded_views(dataset, items, views) for part in batch)
        images, ordered = self._plain(dataset, every)
        transform = views.describe() + self._pixels(images.preprocess, dataset)
        key = dataclasses.replace(self._key(images, ordered, 1), transform=transform)

        def encoded() -> Iterator[Tensor]:
            return (part.flatten(0, 1) for part in self.encoded_views(dataset, ordered, views))

        rows = self.store.features(key, len(ordered) * views.count, encoded)
        places = {item.path: row for row, item in enumerate(ordered)}
        index = torch.tensor([places[item.path] for item in items], dtype=torch.int64)
        return rows.view(len(ordered), views.count, -1)[index].float()

    @torch.no_grad()
    def encoded_views(self, dataset: FewShotDataset, items: Sequence[Item], views: TestViews) -> Iterator[Tensor]:
        """Features of images in several views, in order: batches (b, V, D) on the backbone's device."""
        for pixels in self.view_pixels(dataset, items, views):
            with autocast(self.backbone.device, self.precision):
                flat = pixels.flatten(0, 1).to(self.backbone.device, non_blocking=True)
                yield self.backbone.encode_image(flat).unflatten(0, pixels.shape[:2])

    def view_pixels(self, dataset: FewShotDataset, items: Sequence[Item], views: TestViews) -> Iterator[Tensor]:
        """Images in several views, in order: batches (b, V, 3, H, W)."""
        prepares = Prepares(self.backbone.preprocess, self.backbone.preprocess_cfg)
        return iter(self._loader(TestViewImages(dataset, items, prepares, views), max(1, ENCODE_BATCH // views.count)))

    def test_tokens(
        self, dataset: FewShotDataset, items: Sequence[Item], *, first_only: bool = False
    ) -> TokenTable | None:
        """Output rows of test images, (N, 1, 1 + P, D_v); None if they would take too much space."""
        every = _together(dataset, items)
        table = self.view_tokens(dataset, every, ViewConfig("none"), 0, 0, first_only=first_only)
        rows = {item.path: row for row, item in enumerate(every)}
        index = torch.tensor([rows[item.path] for item in items], dtype=torch.int64)
        return None if table is None else TokenTable(table.packed[index], table.width)

    @torch.no_grad()
    def encode_tokens(self, images: Tensor, *, first_only: bool = False) -> Tensor:
        """Images (B, 3, H, W) -> output rows (B, 1 + P, D_v) fp32 on the backbone's device, rounded as in a table."""
        with autocast(self.backbone.device, self.precision):
            rows = self.backbone.encode_tokens(images.to(self.backbone.device, non_blocking=True))
        return unpack(pack(rows[:, :1] if first_only else rows), rows.shape[-1])

    def plain_features(self, dataset: FewShotDataset, items: Sequence[Item]) -> Tensor:
        """Features of the images without augmentation: (N, D) fp32 on the CPU, not normalised."""
        images, ordered = self._plain(dataset, items)
        rows = {item.path: row for row, item in enumerate(ordered)}
        return self._features(images, ordered, 1)[[rows[item.path] for item in items], 0]

    def _plain(self, dataset: FewShotDataset, items: Sequence[Item]) -> tuple[ViewImages, list[Item]]:
        ordered = sorted(items, key=lambda item: item.path)  # seeds that draw the same images share their features
        places = tuple((item, (0,)) for item in ordered)
        return ViewImages(dataset, places, self.backbone.preprocess_cfg, False, 0, kept=self.kept), ordered

    def view_features(
        self, dataset: FewShotDataset, items: Sequence[Item], views: ViewConfig, seed: int, epochs: int
    ) -> Tensor:
        """Features of every view that a training can show: (N, V, D) fp32 on the CPU, not normalised."""
        if views.augment == "none":
            return self.plain_features(dataset, items)[:, None]
        images = self._views(dataset, items, views, seed, epochs)
        return self._features(images, items, views.count(epochs))

    def view_tokens(
        self,
        dataset: FewShotDataset,
        items: Sequence[Item],
        views: ViewConfig,
        seed: int,
        epochs: int,
        *,
        first_only: bool = False,
    ) -> TokenTable | None:
        """Output rows of every view that a training can show, (N, V, 1 + P, D_v); None if they take too much space.

        Args:
            first_only: keep the row that becomes the feature, and no patch's: P is 0.

        Raises:
            ValueError: if the image tower lacks the blocks of a CLIP vision transformer.
        """
        if views.augment == "none":
            ordered = sorted(items, key=lambda item: item.path)  # in the order of `plain_features`
            rows = {item.path: row for row, item in enumerate(ordered)}
            table = self._tokens(self._views(dataset, ordered, views, 0, 0), ordered, 1, first_only)
            order = torch.tensor([rows[item.path] for item in items], dtype=torch.int64)
            return None if table is None else TokenTable(table.packed[order], table.width)
        return self._tokens(self._views(dataset, items, views, seed, epochs), items, views.count(epochs), first_only)

    def _views(
        self, dataset: FewShotDataset, items: Sequence[Item], views: ViewConfig, seed: int, epochs: int
    ) -> ViewImages:
        count, augmented = views.count(epochs), views.augment != "none"
        chunks = [tuple(range(v, min(v + VIEWS_PER_DECODE, count))) for v in range(0, count, VIEWS_PER_DECODE)]
        places = tuple((item, chunk) for item in items for chunk in chunks)
        return ViewImages(
            dataset, places, self.backbone.preprocess_cfg, augmented, seed, views.min_area, kept=self.kept
        )

    def _features(self, images: ViewImages, items: Sequence[Item], n_views: int) -> Tensor:
        """Features (N, V, D), read from the store or encoded into it."""
        key, encode = self._key(images, items, n_views), self.backbone.encode_image
        rows = self.store.features(key, len(items) * n_views, lambda: self._encode(images, n_views, encode))
        return rows.float().view(len(items), n_views, -1)

    def _key(self, images: ViewImages, items: Sequence[Item], n_views: int) -> FeatureKey:
        return FeatureKey(
            weights_hash=self.backbone.weights_hash,
            transform=self._describe(images, n_views),
            items_hash=files_hash(images.dataset.image_root, items, images.dataset.moved),
            dtype="float32" if self.precision == "fp32" else "bfloat16",
        )

    def _tokens(self, images: ViewImages, items: Sequence[Item], n_views: int, first_only: bool) -> TokenTable | None:
        tower, count = self.backbone.require_vit_blocks("patch rows"), len(items) * n_views
        n_rows, kept = (1, "first row") if first_only else (1 + tower.n_patches, "rows")
        if 2 * count * packed_width(n_rows, tower.row_width) > MOST_BYTES:
            return None
        key = FeatureKey(
            weights_hash=self.backbone.weights_hash,
            transform=f"{self._describe(images, n_views)}; {kept} of the last block in {self.precision}, packed",
            items_hash=files_hash(images.dataset.image_root, items, images.dataset.moved),
            dtype="float16",
        )
        encode = self.backbone.encode_tokens
        pack_rows = (lambda x: pack(encode(x)[:, :1])) if first_only else (lambda x: pack(encode(x)))
        rows = self.store.features(key, count, lambda: self._encode(images, n_views, pack_rows))
        return TokenTable(rows.view(len(items), n_views, -1), tower.row_width)

    def _describe(self, images: ViewImages, n_views: int) -> str:
        kind = f"evaluation, {images.preprocess.resize_mode}"
        if images.augmented:
            kind = f"{n_views} random views of {images.min_area:g} or more, seed {images.seed}"
        return kind + self._pixels(images.preprocess, images.dataset)

    def _pixels(self, p: PreprocessConfig, dataset: FewShotDataset) -> str:
        """What else decides the features of a view, as the keys of stored features say it."""
        # On a CPU the number of threads decides the order of sums and so the last digits: each number has its entry.
        threads = f"; {torch.get_num_threads()} threads" if self.backbone.device.type == "cpu" else ""
        return f"{threads}; {p.image_size} px {p.interpolation}, mean {p.mean}, std {p.std}; {dataset.reading}"

    @torch.no_grad()
    def _encode(self, images: ViewImages, n_views: int, encode: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        at_once = max(1, ENCODE_BATCH // min(n_views, VIEWS_PER_DECODE))
        for pixels in self._loader(images, at_once, torch.cat):
            with autocast(self.backbone.device, self.precision):
                yield encode(pixels.to(self.backbone.device, non_blocking=True))

    def _loader(
        self, images: Dataset[Tensor], at_once: int, collate: Callable[[list[Tensor]], Tensor] = torch.stack
    ) -> DataLoader[Tensor]:
        return DataLoader(
            images,
            batch_size=at_once,
            num_workers=self.workers,
            collate_fn=collate,
            pin_memory=self.backbone.device.type == "cuda",
            generator=torch.Generator().manual_seed(0),  # otherwise the loader draws a seed from the global generator
        )


def _together(dataset: FewShotDataset, items: Sequence[Item]) -> Sequence[Item]:
    """The images to encode in one go: the whole test list where it holds them all, else these alone."""
    listed = {item.path for item in dataset.split.test}
    return dataset.split.test if all(item.path in listed for item in items) else items

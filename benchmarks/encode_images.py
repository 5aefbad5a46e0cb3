"""Images per second from files to stored features, and the share of that time in which the device computes.

    python benchmarks/encode_images.py --backbone ViT-B-16 --images 20000 --workers 16

Decoding (worker processes), copying (pinned memory) and encoding (bf16 on a GPU) overlap; the share is near 1 when the
device never waits for images. The images are noise of ImageNet's usual size, the weights random: neither changes speed.
Without a GPU it runs on the CPU and says so; decoding and encoding then share its cores.

    python benchmarks/encode_images.py --backbone adaptkit-mini --images 256 --workers 0
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from adaptkit import FrozenCLIP, load_backbone
from adaptkit.backbone.devices import choose_device
from datasets_fewshot import FewShotDataset, Item, Split
from trainers.compute.precision import Precision, autocast
from trainers.feeding.encoder import ViewImages

SIZE = (375, 500)  # height and width in pixels
DIFFERENT_IMAGES = 64  # number of files; further items are links to them
BATCH = 256


def make_images(folder: Path, count: int) -> FewShotDataset:
    rng = np.random.default_rng(0)
    for index in range(min(count, DIFFERENT_IMAGES)):
        # Noise enlarged tenfold has about as many bytes as a photograph, and takes as long to decode.
        small = rng.integers(0, 255, (SIZE[0] // 10, SIZE[1] // 10, 3), dtype=np.uint8)
        Image.fromarray(small).resize(SIZE[::-1], Image.Resampling.BICUBIC).save(folder / f"{index}.jpg", quality=92)
    items = tuple(Item(f"{index % DIFFERENT_IMAGES}.jpg", 0, "noise") for index in range(count))
    return FewShotDataset("noise", folder, Split((), (), items))


class DeviceClock:
    """Seconds that the device spends on the work between `start` and `stop`."""

    def __init__(self, device: torch.device):
        self.on_gpu = device.type == "cuda"
        self.spans: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self.cpu_seconds = 0.0

    def start(self) -> None:
        if self.on_gpu:
            self.spans.append((torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)))
            self.spans[-1][0].record()
        self.started = time.perf_counter()

    def stop(self) -> None:
        if self.on_gpu:
            self.spans[-1][1].record()
        else:
            self.cpu_seconds += time.perf_counter() - self.started

    def seconds(self) -> float:
        if not self.on_gpu:
            return self.cpu_seconds
        torch.cuda.synchronize()
        return sum(start.elapsed_time(stop) for start, stop in self.spans) / 1000


@torch.no_grad()
def encode(batches: Iterator[Tensor], backbone: FrozenCLIP, precision: Precision, clock: DeviceClock) -> int:
    done = 0
    for pixels in batches:
        pixels = pixels.to(backbone.device, non_blocking=True)
        clock.start()
        with autocast(backbone.device, precision):
            backbone.encode_image(pixels)
        clock.stop()
        done += len(pixels)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="ViT-B-16", help="an open_clip name; adaptkit-mini is embedded")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=8, help="processes that decode")
    parser.add_argument("--device", default="auto", help="auto (default: a GPU if there is one), cpu, cuda or cuda:1")
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON")
    args = parser.parse_args()
    try:
        backbone = load_backbone(args.backbone, device=choose_device(args.device))
    except ValueError as error:
        parser.error(str(error))
    if backbone.device.type == "cpu":
        print("no GPU in use: decoding and encoding share the CPU's cores", file=sys.stderr)
    precision: Precision = "bf16" if backbone.device.type == "cuda" else "fp32"
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_images(Path(folder), args.images)
        places = tuple((item, (0,)) for item in dataset.split.test)
        images = ViewImages(dataset, places, backbone.preprocess_cfg, False, 0)
        pinned = backbone.device.type == "cuda"
        loader = DataLoader(images, BATCH, num_workers=args.workers, collate_fn=torch.cat, pin_memory=pinned)
        encode(iter([next(iter(loader))] * 3), backbone, precision, DeviceClock(backbone.device))  # warm-up
        clock = DeviceClock(backbone.device)
        start = time.perf_counter()
        done = encode(iter(loader), backbone, precision, clock)
        busy = clock.seconds()
        wall = time.perf_counter() - start
    device = torch.cuda.get_device_name(backbone.device) if pinned else f"cpu ({platform.machine()})"
    result = {
        "backbone": args.backbone,
        "device": device,
        "precision": precision,
        "workers": args.workers,
        "images": done,
        "images_per_second": round(done / wall, 1),
        "device_busy_share": round(busy / wall, 3),
    }
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

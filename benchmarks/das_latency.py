"""Latency of the image tower at ViT-B/16 size with blocks skipped, against its multiply-accumulates; random weights.

    python -m benchmarks.das_latency [--batches 1,8] [--rounds 5] [--threads 1]

Skip adapters and adapters beside kept blocks are included, as in DAS. Batches of 128 take minutes each on a CPU.
"""

import argparse
import json

import open_clip
import torch

from adaptkit import FrozenCLIP
from adaptkit.layers.macs import AdapterShape, image_shape, tower_macs
from adaptkit.wrappers import DASConfig
from benchmarks.timing import RESULTS, hardware
from trainers.studies.das.latency import measure_latencies

ADAPTERS = AdapterShape(skip=192, kept=64)
SKIPPED = {"no skip": (), "2 skipped": (3, 8), "4 skipped": (2, 4, 7, 9)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", default="1,8", help="images of a call")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-16-quickgelu", load_weights=False)
    backbone = FrozenCLIP(model, open_clip.get_tokenizer("ViT-B-16"), "ViT-B-16, random weights")
    options = {
        name: DASConfig(select="given", skip_vision=len(blocks), vision_blocks=blocks, skip_text=0, encoder="vision")
        for name, blocks in SKIPPED.items()
    }
    batches = [int(number) for number in args.batches.split(",")]
    latencies = measure_latencies(backbone, options, batches, args.rounds, calls_of_one=1)
    shape = image_shape(backbone)
    loaded = tower_macs(shape, rows="needed")
    rows = []
    for name, blocks in SKIPPED.items():
        macs = 100 * (tower_macs(shape, blocks, ADAPTERS, rows="needed") / loaded - 1)
        for batch, (milliseconds, change) in zip(batches, latencies[name].cells, strict=True):
            rows.append({"tower": name, "batch": batch, "ms": milliseconds, "change": change, "macs_change": macs})
            print(f"{name:10s} batch {batch:4d}: {milliseconds:9.1f} ms, {change:+.1f} % (MACs {macs:+.1f} %)")
    content = {"what": __doc__.splitlines()[0], "hardware": hardware(), "rounds": args.rounds, "rows": rows}
    (RESULTS / "das_latency.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()

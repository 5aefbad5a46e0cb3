"""Build the embedded model adaptkit-mini: pre-train a small CLIP on named drawings and write its folder.

    python -m trainers.studies.pretraining.pretrain_mini --pairs DIR --out DIR
        [--steps N] [--minutes M] [--resume FILE] [--processes P]

The pairs are images.npy and pairs.jsonl as `datasets_fewshot.mini.recipe` assembles them. The output folder follows
open_clip's local-dir convention; its training.json records the settings and the time taken.

The shipped model was made with --steps 25000 --minutes 78 --processes 2 on 2 CPU cores that did other work as well:
1.96 million pairs; a run against the clock ends elsewhere on another machine. On Linux set MALLOC_MMAP_MAX_=0 and
MALLOC_TRIM_THRESHOLD_=100000000000: glibc otherwise returns every freed batch to the system, and the views of a batch
take 230 ms, not 25.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import hashlib
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from open_clip.transformer import PatchDropout
from safetensors.torch import save_file
from torch import Tensor

from datasets_fewshot.images.transforms import CLIP_MEAN, CLIP_STD
from trainers.studies.pretraining.contrastive import (
    ContrastiveConfig,
    ContrastiveRun,
    Event,
    PairBatch,
    clip_loss,
    encode_short_text,
    train_contrastive,
)
from trainers.studies.pretraining.mini_augment import on_white, random_views
from trainers.studies.pretraining.mini_pairs import EVALUATED_GROUPS, Pair, PairSampler, caption, hold_out, read_pairs
from trainers.studies.pretraining.peers import Peers, run_peers

MERGES = 8192
IMAGE_SIZE = 48
CONTEXT_LENGTH = 24
BATCH_SIZE = 192
LONGEST_CAPTION = 16  # tokens of a training caption; the model itself reads 24
MODEL_CONFIG = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": IMAGE_SIZE, "patch_size": 8, "width": 192, "layers": 6, "head_width": 64},
    "text_cfg": {
        "context_length": CONTEXT_LENGTH,
        "vocab_size": MERGES + 2 * 256 + 2,
        "width": 128,
        "heads": 4,
        "layers": 3,
    },
}
PREPROCESS_CONFIG = {
    "size": IMAGE_SIZE,
    "mode": "RGB",
    "mean": list(CLIP_MEAN),
    "std": list(CLIP_STD),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
VOCABULARY_FILE = "bpe_simple_vocab_8192.txt.gz"
WEIGHTS_FILE = "open_clip_model.safetensors"


def write_vocabulary(folder: Path) -> None:
    """Write CLIP's own byte-pair merges, cut to the most frequent ones."""
    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode("utf-8").split("\n")
    text = "\n".join(lines[: 1 + MERGES])  # the first line is a header; a trailing newline would add an empty merge
    (folder / VOCABULARY_FILE).write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))


def read_vocabulary(folder: Path) -> SimpleTokenizer:
    """Make the tokenizer of the cut merges."""
    return SimpleTokenizer(bpe_path=str(folder / VOCABULARY_FILE), context_length=CONTEXT_LENGTH)


def build_model(seed: int) -> CLIP:
    """Build the untrained model with a patch dropout that training sets; the shipped configuration has none."""
    torch.manual_seed(seed)
    model = CLIP(**MODEL_CONFIG)
    model.visual.patch_dropout = PatchDropout(0.0)
    return model


def patch_dropout_at(progress: float) -> float:
    """Share of patches left out: half at first, for speed, and none at the end, as in use."""
    return 0.5 if progress < 0.4 else 0.25 if progress < 0.75 else 0.0


def drawing_loss(model: CLIP, batch: PairBatch, progress: float, peers: Peers) -> Tensor:
    """Contrastive loss of one batch at the patch dropout of this point of the run."""
    assert isinstance(model.visual.patch_dropout, PatchDropout)
    model.visual.patch_dropout.prob = patch_dropout_at(progress)
    with torch.no_grad():
        model.logit_scale.clamp_(max=float(np.log(100.0)))
    image_features = peers.gather(model.encode_image(batch.images).float())
    text_features = peers.gather(encode_short_text(model, batch.tokens).float())
    return clip_loss(image_features, text_features, peers.shared(model.logit_scale), batch.labels)


class DrawingBatches:
    """Map step -> batch; a step always gives the same pairs, captions and (under its seed) views."""

    def __init__(
        self,
        images: np.ndarray,
        pairs: list[Pair],
        indices: np.ndarray,
        tokenizer: SimpleTokenizer,
        seed: int,
        peers: Peers,
    ):
        self.images, self.pairs, self.seed, self.peers = images, pairs, seed, peers
        self.sampler = PairSampler(pairs, indices)
        self.mono = torch.tensor([pair.mono for pair in pairs])
        self.flippable = torch.tensor([pair.flippable for pair in pairs])
        self.encode = functools.lru_cache(maxsize=None)(lambda text: tokenizer([text])[0])  # cleaning a text is slow

    def __call__(self, step: int) -> PairBatch:
        rng = np.random.default_rng((self.seed, step))
        rows, labels = self.sampler.draw(BATCH_SIZE, rng)
        rows = rows[self.peers.share(BATCH_SIZE)]
        tokens = shortened(torch.stack([self.encode(caption(self.pairs[row], rng)) for row in rows]))
        rgba = torch.from_numpy(self.images[rows])
        views = random_views(rgba, self.mono[rows], self.flippable[rows], IMAGE_SIZE)
        return PairBatch(views, tokens, torch.from_numpy(labels))


def shortened(tokens: Tensor) -> Tensor:
    """Cut captions (B, L) after the longest one, to at most LONGEST_CAPTION; a cut caption keeps its end of text."""
    end = int(tokens.max())
    longest = int(tokens.argmax(dim=1).max()) + 1
    cut = tokens[:, : min(longest, LONGEST_CAPTION)].clone()
    cut[(cut == end).sum(dim=1) == 0, -1] = end
    return cut


@torch.no_grad()
def development_accuracy(
    model: CLIP, images: np.ndarray, pairs: list[Pair], rows: np.ndarray, tokenizer: SimpleTokenizer
) -> dict[str, float]:
    """Zero-shot top-1 in percent of held-out drawings, over all names of their group."""
    accuracy = {}
    for group in EVALUATED_GROUPS:
        held = [row for row in rows.tolist() if pairs[row].group == group]
        names = sorted({pair.name for pair in pairs if pair.group == group})
        if not held:
            continue
        text = F.normalize(model.encode_text(tokenizer([f"a photo of a {name}." for name in names])), dim=-1)
        image = model.encode_image(on_white(torch.from_numpy(images[held]), IMAGE_SIZE))
        best = (image @ text.T).argmax(dim=1).tolist()
        accuracy[group] = 100.0 * float(
            np.mean([names[b] == pairs[row].name for b, row in zip(best, held, strict=True)])
        )
    return accuracy


def export(model: CLIP, folder: Path, record: dict[str, object]) -> None:
    """Write configuration, half-precision weights, record and checksums of everything in the folder."""
    config = {"model_cfg": MODEL_CONFIG, "preprocess_cfg": PREPROCESS_CONFIG}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    weights = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    partial = folder / (WEIGHTS_FILE + ".partial")
    save_file(weights, partial)
    partial.replace(folder / WEIGHTS_FILE)
    write_checksums(folder)


def write_checksums(folder: Path) -> None:
    """Write SHA-256 of every data file below `folder`, in the form that `sha256sum -c` reads."""
    files = sorted(
        p
        for p in folder.rglob("*")
        if p.is_file() and p.suffix not in (".py", ".pyc", ".partial") and p.name != "SHA256SUMS"
    )
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}" for p in files]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")


def training_record(
    run: ContrastiveRun, config: ContrastiveConfig, pairs: int, accuracy: dict[str, float], peers: Peers
) -> dict[str, object]:
    """The settings and data of the run, with at most 100 points of the loss curve."""
    thinned = run.curve[:: max(1, -(-len(run.curve) // 100))]
    return {
        "steps": run.step,
        "pairs_seen": run.pairs,
        "pairs_available": pairs,
        "batch_size": BATCH_SIZE,
        "seconds": round(run.seconds, 1),
        "config": asdict(config),
        "development_zero_shot_top1_percent": {group: round(value, 2) for group, value in accuracy.items()},
        "loss_curve": [[step, round(loss, 4)] for step, loss in thinned],
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "open_clip": open_clip.__version__,
        },
        "hardware": f"{peers.count * torch.get_num_threads()} CPU threads, {platform.machine()}",
    }


def pretrain(args: argparse.Namespace, peers: Peers) -> None:
    """Train as the command line asks, as one of the processes, and write the model's folder."""
    config = ContrastiveConfig(steps=args.steps, minutes=args.minutes, seed=args.seed)
    tokenizer = read_vocabulary(args.out)
    images, pairs = read_pairs(args.pairs)
    images = np.ascontiguousarray(images)  # in memory, because random rows of a memory map would wait for the disk
    train_rows, dev_rows = hold_out(pairs, args.seed)

    def report(run: ContrastiveRun, averaged: CLIP, event: Event) -> None:
        line = f"step {run.step} pairs {run.pairs} seconds {run.seconds:.0f}"
        line += f" loss {run.curve[-1][1]:.3f}" if run.curve else ""
        if event != "log":
            accuracy = development_accuracy(averaged, images, pairs, dev_rows, tokenizer)
            export(averaged, args.out, training_record(run, config, len(train_rows), accuracy, peers))
            line += f" dev {np.mean(list(accuracy.values())):.2f} {accuracy}"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    batches = DrawingBatches(images, pairs, train_rows, tokenizer, args.seed, peers)
    model, averaged = build_model(args.seed), build_model(args.seed)
    loss_fn = functools.partial(drawing_loss, peers=peers)
    train_contrastive(model, batches, config, loss_fn, averaged, args.resume, report, peers)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m trainers.studies.pretraining.pretrain_mini", description="Pre-train adaptkit-mini."
    )
    parser.add_argument("--pairs", type=Path, required=True, help="folder with images.npy and pairs.jsonl")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model, refreshed at every checkpoint")
    parser.add_argument("--steps", type=int, default=ContrastiveConfig.steps, help="optimiser steps of 192 pairs")
    parser.add_argument("--minutes", type=float, default=None, help="deadline; the schedule then follows the clock")
    parser.add_argument("--resume", type=Path, default=None, help="checkpoint to write, and to go on from if it exists")
    parser.add_argument("--seed", type=int, default=ContrastiveConfig.seed)
    parser.add_argument("--processes", type=int, default=1, help="of one thread each; 1 uses torch's own threads")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    write_vocabulary(args.out)
    run_peers(functools.partial(pretrain, args), args.processes)


if __name__ == "__main__":
    main()

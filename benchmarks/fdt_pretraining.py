"""CLIP and CLIP with finite discrete tokens, pre-trained from scratch on the embedded images and their names.

python -m benchmarks.fdt_pretraining [--steps 400] [--out benchmarks/results/fdt_pretraining.json]

Both have adaptkit-mini's towers, the same pairs in the same order and the same schedule. Both also get the same
multiply-accumulates, counted over forward and backward: FDT's steps cost more, so it takes fewer. The last model is
tested on drawings of families that were not trained on (names were): zero-shot accuracy over the names of each data
set, and retrieval between the twemoji drawings and their names.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import PatchDropout
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from adaptkit import load_backbone
from adaptkit.artefacts.atomic_file import write_text
from adaptkit.fdt import FDTModelConfig
from datasets_fewshot import MINI_DATASETS, load_dataset
from datasets_fewshot.images.transforms import eval_transform
from trainers.runs.environment import hardware, versions
from trainers.studies.pretraining.contrastive import (
    ContrastiveConfig,
    PairBatch,
    clip_loss,
    encode_short_text,
    train_contrastive,
)
from trainers.studies.pretraining.contrastive_fdt import CLIPWithFDT, fdt_loss
from trainers.studies.pretraining.mini_augment import random_views
from trainers.studies.pretraining.mini_pairs import NAME_TEMPLATES
from trainers.studies.pretraining.pretrain_mini import IMAGE_SIZE, build_model, shortened

DATASETS = [name for name in MINI_DATASETS if name not in ("emoji_subgroups", "fashion_mnist")]
BATCH = 128
PATCH_DROPOUT = 0.5  # share of the patches that a training step leaves out, for speed
TEMPLATE = "a photo of a {}."
# The small towers cannot feed more codes than this with one batch. T keeps the released ratio of T to the number of
# codes, so that the same share of the codes is active at the start.
FDT = FDTModelConfig(n_codes=1024, dim=128, temperature=1000 * 1024 / 16384)
Encoder = Callable[[Tensor], Tensor]


def training_pairs() -> tuple[Tensor, list[str]]:
    """Drawings (N, 64, 64, 4) uint8 RGBA of the training lists, and their names."""
    images, names = [], []
    for dataset in map(load_dataset, DATASETS):
        for item in dataset.split.train:
            rgb = np.asarray(dataset.load(item).convert("RGB").resize((64, 64)))
            images.append(np.concatenate([rgb, np.full((64, 64, 1), 255, np.uint8)], axis=2))
            names.append(item.classname.replace("_", " "))
    return torch.from_numpy(np.stack(images)), names


class Pairs:
    """Map step -> batch, equal for both models."""

    def __init__(self, images: Tensor, names: list[str], tokenizer: SimpleTokenizer):
        self.images, self.names = images, names
        labels = {name: label for label, name in enumerate(sorted(set(names)))}
        self.labels = torch.tensor([labels[name] for name in names])
        self.encode = functools.lru_cache(maxsize=None)(lambda text: tokenizer([text])[0])

    def __call__(self, step: int) -> PairBatch:
        rng = np.random.default_rng((7, step))
        rows = rng.choice(len(self.names), BATCH, replace=False)
        captions = [NAME_TEMPLATES[rng.integers(len(NAME_TEMPLATES))].format(self.names[row]) for row in rows]
        tokens = shortened(torch.stack([self.encode(caption) for caption in captions]))
        no = torch.zeros(BATCH, dtype=torch.bool)
        return PairBatch(random_views(self.images[rows], no, no, IMAGE_SIZE), tokens, self.labels[rows])


def clip_step_loss(model: CLIP, batch: PairBatch, progress: float) -> Tensor:
    with torch.no_grad():
        model.logit_scale.clamp_(max=float(np.log(100.0)))
    features = model.encode_image(batch.images), encode_short_text(model, batch.tokens)
    return clip_loss(*features, model.logit_scale, batch.labels)


def counted_macs(loss: Callable[[], Tensor]) -> int:
    """Count the multiply-accumulates of a step's forward and backward pass."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss().backward()
    return counter.get_total_flops() // 2


@torch.no_grad()
def evaluate(encode_image: Encoder, encode_text: Encoder, tokenizer: SimpleTokenizer) -> dict[str, object]:
    """Zero-shot top-1 by data set, and recalls over the drawings and names of all emoji, all in percent."""
    transform = eval_transform(IMAGE_SIZE)  # CLIP's own, as in PREPROCESS_CONFIG of the embedded model
    zero_shot, pools = {}, []
    for dataset in map(load_dataset, DATASETS):
        texts = [TEMPLATE.format(name.replace("_", " ")) for name in dataset.classnames]
        text = F.normalize(encode_text(shortened(tokenizer(texts))), dim=-1)
        images = torch.stack([transform(dataset.load(item)) for item in dataset.split.test])
        image = F.normalize(torch.cat([encode_image(part) for part in images.split(BATCH)]), dim=-1)
        labels = torch.tensor([item.label for item in dataset.split.test])
        zero_shot[dataset.name] = 100 * float(((image @ text.T).argmax(dim=1) == labels).float().mean())
        if dataset.name.startswith("emoji"):
            pools.append((image, text[labels]))
    scores = torch.cat([image for image, _ in pools]) @ torch.cat([text for _, text in pools]).T  # (M, M)
    recalls = {
        f"{way} R@{k}": 100 * float((_ranks(matrix) < k).float().mean())
        for way, matrix in (("image to text", scores), ("text to image", scores.T))
        for k in (1, 5, 10)
    }
    return {
        "zero_shot_top1_percent": zero_shot,
        "zero_shot_mean": float(np.mean(list(zero_shot.values()))),
        "retrieval_percent": recalls,
        "retrieval_pairs": len(scores),
        "rsum": sum(recalls.values()),
    }


def _ranks(scores: Tensor) -> Tensor:
    """Number of columns that score higher than the row's own column: (M,)."""
    return (scores > scores.diagonal()[:, None]).sum(dim=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400, help="of CLIP, each of 128 pairs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fdt_pretraining.json"))
    args = parser.parse_args()
    tokenizer = load_backbone("adaptkit-mini").tokenizer
    images, names = training_pairs()
    pairs = Pairs(images, names, tokenizer)

    def clip() -> CLIP:
        model = build_model(args.seed)
        model.visual.patch_dropout = PatchDropout(PATCH_DROPOUT)  # active in training only
        return model

    def with_fdt() -> CLIPWithFDT:
        return CLIPWithFDT(clip(), FDT)

    torch.manual_seed(0)
    batch = pairs(0)
    models: dict[str, tuple[Callable[[], CLIP | CLIPWithFDT], Callable[..., Tensor]]] = {
        "clip": (clip, clip_step_loss),
        "clip+fdt": (with_fdt, functools.partial(fdt_loss, steps=args.steps)),
    }
    macs = {name: counted_macs(functools.partial(loss, make(), batch, 0.0)) for name, (make, loss) in models.items()}
    result: dict[str, object] = {}
    for name, (make, loss) in models.items():
        steps = round(args.steps * macs["clip"] / macs[name])
        config = ContrastiveConfig(
            steps=steps, lr=1e-3, warmup_steps=max(1, steps // 10), ema_decay=0.0, autocast="none", seed=args.seed
        )
        model, last = make(), make()
        start = time.process_time()
        run = train_contrastive(model, pairs, config, loss, last)
        seconds, last = time.process_time() - start, last.eval()
        if isinstance(last, CLIPWithFDT):
            T = FDT.temperature_at(args.steps)
            scores = evaluate(
                functools.partial(last.encode_image, temperature=T),
                functools.partial(last.encode_text, temperature=T),
                tokenizer,
            )
        else:
            scores = evaluate(last.encode_image, functools.partial(encode_short_text, last), tokenizer)
        result[name] = {
            "macs_per_step": macs[name],
            "steps": steps,
            "macs": macs[name] * steps,
            "pairs_seen": run.pairs,
            "cpu_seconds": round(seconds, 1),
            "parameters": sum(weight.numel() for weight in last.parameters()),
            "loss_curve": [[step, round(value, 4)] for step, value in run.curve],
            **scores,
        }
        print(name, json.dumps(result[name]), flush=True)
    facts = {
        "equal": "multiply-accumulates of training, forward and backward, counted on one batch",
        "training_pairs": len(names),
        "names": len(set(names)),
        "batch": BATCH,
        "patch_dropout": PATCH_DROPOUT,
        "fdt": asdict(FDT),
        "chance": {name: 100 / MINI_DATASETS[name]["classes"] for name in DATASETS},
        "models": result,
        "versions": versions(),
        "hardware": hardware(torch.device("cpu")),
    }
    write_text(args.out, json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()

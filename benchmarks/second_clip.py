"""A second CLIP for measurements between two models, made of the embedded one.

    python -m benchmarks.second_clip --out older.safetensors [--seed 1]

No two public models fit into the package, so the old model of an upgrade is the embedded one, made worse and moved:
every matrix of both towers is shifted by Gaussian noise of a share `NOISE` of its own standard deviation, and both
projections into the joint space are multiplied by one random orthogonal matrix. So it is weaker, its errors are its
own and not linear in the other's, its space is turned, and its images and texts still belong together. It is not what
another training on other data would give, which would differ by more.

The file is weights of `adaptkit-mini`: `adaptkit.load_backbone("adaptkit-mini", checkpoint="older.safetensors")`.
"""

import argparse
import copy

import safetensors.torch
import torch
from torch import Tensor

from adaptkit import FrozenCLIP, as_backbone, load_backbone
from adaptkit.artefacts.atomic_file import replacing
from adaptkit.regular_file import user_path

NOISE = 0.5  # of a matrix's standard deviation
PROJECTIONS = ("text_projection", "visual.proj")  # (width, D) into the joint space


def older(backbone: FrozenCLIP, seed: int, noise: float = NOISE) -> FrozenCLIP:
    """A weaker backbone with a turned space; the one that is given stays as it is.

    Args:
        backbone: a CLIP with open_clip's own towers.
        seed: of the noise and of the rotation.
        noise: share of every matrix's standard deviation; 0 turns the space alone.
    """
    model = copy.deepcopy(backbone.model)
    model.load_state_dict(older_weights(model.state_dict(), seed, noise))
    return as_backbone(model, backbone.tokenizer.plain, name=f"{backbone.name}, older")


def older_weights(weights: dict[str, Tensor], seed: int, noise: float = NOISE) -> dict[str, Tensor]:
    """The weights of `older`."""
    generator = torch.Generator().manual_seed(seed)
    changed = {}
    for name, tensor in weights.items():
        changed[name] = tensor.clone()
        if noise and tensor.is_floating_point() and tensor.ndim >= 2:
            spread = noise * float(tensor.std())
            changed[name] += spread * torch.randn(tensor.shape, generator=generator).to(tensor)
    width = weights[PROJECTIONS[0]].shape[1]
    rotation = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
    for name in PROJECTIONS:
        changed[name] = changed[name] @ rotation.to(changed[name])
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", required=True, metavar="FILE", help="ends in .safetensors")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    weights = older_weights(load_backbone("adaptkit-mini").model.state_dict(), args.seed)
    with replacing(user_path(args.out, "weights")) as temporary:
        temporary.write_bytes(safetensors.torch.save({name: tensor.contiguous() for name, tensor in weights.items()}))


if __name__ == "__main__":
    main()

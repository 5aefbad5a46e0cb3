"""Stand-ins distilled beforehand, once per backbone, as the start of every task (ours; not in the paper).

A file holds, for one image tower, the stand-in of every block and the adapters beside it, learnt on unlabelled images
with the drift (drift.py) of random sub-networks as the loss. It is a safetensors file whose header names the
backbone's weights and holds the gates of the blocks. A few shots of a task then have less to teach, and the search less
to find out.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from adaptkit.artefacts.atomic_file import replacing
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.loading import MINI
from adaptkit.regular_file import user_path

if TYPE_CHECKING:
    from adaptkit.towers.vision import VisionTower
    from adaptkit.wrappers.das.blocks import AdaptedTower

FORMAT = "adaptkit-das-stand-ins/1"
EMBEDDED = Path(__file__).parent.parent.parent / "mini" / "das_stand_ins.safetensors"


def stand_ins_file(name: str) -> Path:
    """Path of the option `stand_ins`: a file, or the file of the embedded backbone.

    Raises:
        FileNotFoundError: if the file does not exist.
    """
    path = EMBEDDED if name == MINI else user_path(name, "stand-ins")
    if not path.is_file():
        raise FileNotFoundError(
            f"stand_ins={name!r}: there is no file {str(path)!r}; give what `adaptkit das distill` wrote, or {MINI!r}"
        )
    return path


def write_stand_ins(
    path: Path,
    backbone: FrozenCLIP,
    adapters: "AdaptedTower[VisionTower]",
    gates: Sequence[float],
    facts: Mapping[str, str],
) -> None:
    """Write the adapters of an image tower whose blocks can all be skipped, whole or not at all.

    Args:
        backbone: the backbone of that tower, as it was loaded.
        gates: one gate per block; see gates.py.
        facts: facts about the distillation, beside the backbone's name and the hash of its weights.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in adapters.state_dict().items()}
    of_backbone = {"backbone": backbone.name, "weights_sha256": backbone.weights_hash}
    header = {"format": FORMAT, **of_backbone, "gates": json.dumps(list(gates)), **facts}
    with replacing(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, header))


def read_stand_ins(name: str, backbone: FrozenCLIP, adapters: "AdaptedTower[VisionTower]") -> None:
    """Load a file's tensors into all adapters of an image tower.

    Args:
        name: the value of the option `stand_ins`.
        backbone: the backbone as it was loaded.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is no file of stand-ins, or made for other weights or options.
    """
    path = stand_ins_file(name)
    _, tensors = _content(path, backbone)
    own = adapters.state_dict()
    wrong = [
        f"{key} {tuple(tensor.shape)}, there {tuple(tensors[key].shape) if key in tensors else 'nothing'}"
        for key, tensor in own.items()
        if key not in tensors or tensors[key].shape != tensor.shape
    ]
    if wrong:
        raise ValueError(
            f"the stand-ins of {str(path)!r} do not fit these options: expected {wrong[0]}; use the bottlenecks and "
            "`kept` that they were distilled with"
        )
    for key, tensor in own.items():
        tensor.copy_(tensors[key])


def read_gates(name: str, backbone: FrozenCLIP, depth: int) -> Tensor:
    """The file's gates (depth,): those at the end of the distillation, which drew its blocks by them.

    Args:
        name: the value of the option `stand_ins`.
        backbone: the backbone as it was loaded.
        depth: number of blocks of its image tower.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is no file of stand-ins, or made for other weights, or has not one gate per block.
    """
    path = stand_ins_file(name)
    header, _ = _content(path, backbone)
    text = header.get("gates", "")
    try:
        gates = torch.tensor(json.loads(text), dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        gates = torch.empty(0)
    if gates.shape != (depth,) or not gates.isfinite().all():
        raise ValueError(f"the gates of {str(path)!r} are {text!r}; expected a list of {depth} numbers")
    return gates


def _content(path: Path, backbone: FrozenCLIP) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header and tensors of a file that was made for this backbone."""
    try:
        with safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
    except SafetensorError as error:
        raise ValueError(f"{str(path)!r} is no safetensors file ({error}); give a file of stand-ins") from error
    if header.get("format") != FORMAT:
        raise ValueError(f"{str(path)!r} has format {header.get('format')!r}; expected {FORMAT!r}")
    if header.get("weights_sha256") != backbone.weights_hash:
        raise ValueError(
            f"the stand-ins of {str(path)!r} were distilled for weights of {header.get('backbone')} that are not those "
            f"of this {backbone.name}; distil some for it with `adaptkit das distill`"
        )
    return header, tensors

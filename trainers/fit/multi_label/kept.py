"""What a stopped training on several labels goes on from: its checkpoints, and what finished trainings have learnt."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from adaptkit.artefacts.atomic_file import Json, write_text
from adaptkit.regular_file import read_json
from datasets_fewshot import Item, files_hash, items_hash
from datasets_fewshot.own.multi_label import MultiLabelDataset
from trainers.config.settings import CheckpointConfig, RunConfig
from trainers.runs.checksums import check_file, take_checksums, with_checksums
from trainers.runs.data import Bench
from trainers.runs.identity import classnames_hash, said
from trainers.runs.learning import save_tensors
from trainers.runs.records import LEARNT_FILE, run_id
from trainers.training.checkpoints import Checkpoints, discard_checkpoints

FACTS_FILE = "training.json"  # beside the learnt tensors, and written after them


@dataclass(frozen=True)
class Kept:
    """The folder of one training, under a name of all that can change its result."""

    folder: Path
    facts: dict[str, Json]

    @property
    def run_id(self) -> str:
        """The id of the training."""
        return run_id(self.facts)

    def checkpoints(self, config: CheckpointConfig) -> Checkpoints:
        """The checkpoints of the training."""
        return Checkpoints(self.folder, self.run_id, config)

    def learnt(self) -> dict[str, Tensor] | None:
        """What a finished training has learnt; None where none is finished, or a file of it is damaged."""
        try:
            facts = read_json(self.folder / FACTS_FILE, "facts of a training")
            if not isinstance(facts, dict):
                raise ValueError(f"{FACTS_FILE} holds a {type(facts).__name__}")
            take_checksums(facts, self.folder / FACTS_FILE)
            learnt = load(check_file(self.folder, FACTS_FILE, LEARNT_FILE))
        except FileNotFoundError:
            return None
        except (ValueError, OSError, SafetensorError):
            warnings.warn(f"the training in {self.folder} is made again, as its files have changed", stacklevel=2)
            return None
        if facts != self.facts:
            return None
        discard_checkpoints(self.folder)  # of a process that was killed before it could
        return learnt

    def finish(self, learnt: dict[str, Tensor]) -> None:
        """Keep what the training has learnt, in the place of its checkpoints."""
        save_tensors(learnt, self.folder / LEARNT_FILE)
        content = with_checksums(self.facts, self.folder, (LEARNT_FILE,))
        write_text(self.folder / FACTS_FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        discard_checkpoints(self.folder)


def kept_training(
    run: RunConfig, dataset: MultiLabelDataset, items: Sequence[Item], val: Sequence[Item], bench: Bench
) -> Kept:
    """The place below `bench.out` of a training on these images; another place for anything that changes its result."""
    facts: dict[str, Json] = {
        "method": run.method,
        "options": said(run.options),
        "wrap": [[name, said(options)] for name, options in run.wrap],
        "templates": list(run.templates),
        "shots": run.shots,
        "seed": run.seed,
        "optim": said(run.optim),
        "views": asdict(run.views),
        "weights": bench.backbone.weights_hash,
        "preprocess": asdict(bench.backbone.preprocess_cfg),
        "precision": bench.precision,
        "classnames": classnames_hash(dataset.classnames),
        "train": _fingerprint(dataset, items),
        "val": _fingerprint(dataset, val),
    }
    facts = json.loads(json.dumps(facts))  # as a file has them
    return Kept(bench.out / f"{run.label}-{run.shots}shots-seed{run.seed}-{run_id(facts)[:12]}", facts)


def _fingerprint(dataset: MultiLabelDataset, items: Sequence[Item]) -> Json:
    """What is learnt of images: which they are, what the files hold, and their labels."""
    files = files_hash(dataset.images.image_root, items, dataset.images.moved)
    labels: list[Json] = [list(dataset.labels[item.label]) for item in items]
    return {"items": items_hash(items), "files": files, "labels": labels}

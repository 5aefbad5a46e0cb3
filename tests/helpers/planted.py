"""Planted code: files that would leave a mark if anything in them ran."""

import json
from pathlib import Path

import open_clip
import safetensors.torch

MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


class Plant:
    """Code that writes a mark, and the places to plant it in."""

    def __init__(self, folder: Path):
        self.mark = folder / "the planted code ran"
        self.code = f"import pathlib\npathlib.Path({str(self.mark)!r}).write_text('ran')\n"

    def __reduce__(self) -> tuple[object, ...]:
        return exec, (self.code,)

    @property
    def ran(self) -> bool:
        """Whether the code ran."""
        return self.mark.exists()


def write_backbone(folder: Path, **changes: object) -> Path:
    """A folder with a small backbone; `text_cfg={...}` and the like are merged into its model_cfg."""
    folder.mkdir(parents=True, exist_ok=True)
    model = {**MODEL}
    for key, value in changes.items():
        own = MODEL.get(key)
        model[key] = {**own, **value} if isinstance(own, dict) and isinstance(value, dict) else value
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    plain = open_clip.model.CLIP(**json.loads(json.dumps(MODEL)))
    safetensors.torch.save_file(plain.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def plant_tokenizer(folder: Path, plant: Plant) -> None:
    """Give a folder a tokenizer and a text tower that consist of planted code."""
    (folder / "evil.py").write_text(plant.code + "class Tokenizer: pass\nclass Config: pass\n")
    auto = {"AutoTokenizer": ["evil.Tokenizer", None], "AutoConfig": "evil.Config"}
    for name in ("tokenizer_config.json", "config.json"):
        (folder / name).write_text(json.dumps({"auto_map": auto, "tokenizer_class": "Tokenizer", "model_type": "evil"}))


def hub_cache(root: Path, files: Path, repository: str) -> None:
    """Put a folder's files into a cache of the hub, as a download would."""
    repo, commit = root / f"models--{repository.replace('/', '--')}", "0123456789abcdef0123456789abcdef01234567"
    snapshot = repo / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    for file in files.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())

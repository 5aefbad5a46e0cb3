"""The oldest versions that setup.cfg allows, installed into a fresh environment, where a smoke test runs.

    python -m tests.floor_versions              # a few minutes and 3 GB; `.ci/floors` runs it
    python -m tests.floor_versions --list       # the versions alone

Every `name>=version` of `install_requires` and of the extra `hf` becomes `name==version`. The smoke test loads the
embedded model, builds one small model of each of several architectures, compares them with open_clip's own features,
makes every method on them, and trains and saves one.
"""

import argparse
import configparser
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
# One of each kind of image tower that this open_clip knows; of text towers, those of Hugging Face.
NAMES = ("ViT-B-16", "EVA02-B-16", "PE-Core-B-16", "ViT-B-16-SigLIP2", "ViTamin-B", "coca_base", "roberta-ViT-B-32")


def floors(config: Path = ROOT / "setup.cfg") -> list[str]:
    """The declared requirements with every lowest version as the only one, such as "timm==1.0.17"."""
    parser = configparser.ConfigParser()
    parser.read(config)
    lines = parser["options"]["install_requires"].split() + parser["options.extras_require"]["hf"].split()
    return [line.split(",")[0].replace(">=", "==") for line in lines if not line.startswith("#")]


def smoke() -> None:
    """What has to work on the oldest versions; run inside their environment."""
    import torch

    import adaptkit
    from benchmarks.backbones import TOLERANCE, outcome

    backbone = adaptkit.load_backbone("adaptkit-mini")
    method = adaptkit.create_method("maple", backbone, ["cat", "dog"])
    method.backward(torch.rand(2, 3, 48, 48), torch.tensor([0, 1]))
    with tempfile.TemporaryDirectory() as folder:
        method.eval().save_pretrained(Path(folder) / "adapter")
        images = torch.rand(2, 3, 48, 48)
        assert torch.equal(adaptkit.load(Path(folder) / "adapter")(images), method(images))
    for name in NAMES:
        found = outcome(name)
        assert found.has_vit_blocks, name
        assert max(found.image_error, found.text_error) < TOLERANCE, name
        print(f"{name} works", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print the versions and install nothing")
    parser.add_argument("--smoke", action="store_true", help="run the smoke test in this environment")
    args = parser.parse_args(argv)
    if args.list:
        print("\n".join(floors()))
        return 0
    if args.smoke:
        smoke()
        return 0
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", *floors()], check=True)
        return subprocess.run([python, "-m", "tests.floor_versions", "--smoke"], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

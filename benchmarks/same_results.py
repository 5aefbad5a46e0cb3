"""Whether a change of structure changed a result: this checkout against the code of an earlier commit.

    python -m benchmarks.same_results COMMIT [--work DIR]

The files of the commit are laid out beside this checkout, and both sides do the same work with the same Python:
1. they list the ids of all runs of the default bench, and of a few-shot bench;
2. they train one run of every method, and of every wrapper around one method, and keep what was learnt;
3. the earlier side saves every run as an adapter, and this side loads it and classifies the same images.
Ids and learnt tensors must be equal bit for bit, and so must the logits of the loaded adapters. The result is written
to benchmarks/results/same_results.json; the exit code is 1 where anything differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "same_results.json"
TRAINED = ["--protocol", "few_shot", "--datasets", "emoji_activities", "--shots", "2", "--seeds", "1"]
BENCHES = {
    "methods": ["--methods", "all"],
    "das": ["--methods", "coop", "--wrap", "das"],
    "fdt": ["--methods", "coop", "--wrap", "fdt"],
}
IDS = """
import json, sys
from pathlib import Path
try:
    from trainers.bench.plan import open_bench, plan
    from trainers.config import load_bench
except ModuleNotFoundError:
    from trainers.config import load_bench
    from trainers.matrix import open_bench, plan
out, cache = Path(sys.argv[1]), Path(sys.argv[2])
ids = {}
for protocol in ("base_to_novel", "few_shot"):
    config = load_bench(overrides=["PROTOCOL", protocol, "METHODS", "[all]"])
    ids[protocol] = [run.run_id for run in plan(config, open_bench(config, out, cache)).runs]
print(json.dumps(ids))
"""
LOGITS = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
import adaptkit
adapters, out = Path(sys.argv[1]), Path(sys.argv[2])
backbone = adaptkit.load_backbone("adaptkit-mini")
images = torch.randn(4, 3, *backbone.preprocess_cfg.image_size, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    logits = {folder.name: adaptkit.load(folder, backbone)(images) for folder in sorted(adapters.iterdir())}
save_file(logits, out)
"""


class Side:
    """One checkout with a folder of its own for runs."""

    def __init__(self, code: Path, work: Path):
        self.code, self.work = code, work
        work.mkdir(parents=True, exist_ok=True)

    def python(self, *words: str) -> str:
        """Run Python on this checkout's modules; returns what it printed.

        Raises:
            RuntimeError: with the last lines of its errors, if it fails.
        """
        environment = {**os.environ, "PYTHONPATH": str(self.code), "ADAPTKIT_CACHE": str(self.work / "cache")}
        done = subprocess.run(
            [sys.executable, *words], cwd=self.work, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words[:4])} failed on {self.code}:\n{done.stderr[-3000:]}")
        return done.stdout

    def command(self, *words: str) -> str:
        """Run a verb of the `adaptkit` command."""
        module = "trainers" if (self.code / "trainers" / "__main__.py").exists() else "trainers.cli"
        return self.python("-m", module, *words)

    def ids(self) -> dict[str, list[str]]:
        """Protocol -> ids of all runs of its bench with every method, in the plan's order."""
        found: dict[str, list[str]] = json.loads(self.python("-c", IDS, "runs", "cache"))
        return found

    def train(self) -> None:
        """Compute one run of every method and wrapper."""
        for name, words in BENCHES.items():
            self.command("bench", *TRAINED, *words, "--out", str(self.work / name), "DEVICE", "cpu", "THREADS", "1")

    def runs(self) -> dict[str, Path]:
        """Name of a run -> its folder."""
        folders = [path.parent for path in self.work.glob("*/few_shot/*/*/record.json")]
        return {f"{folder.parents[2].name}/{folder.name}": folder for folder in sorted(folders)}

    def save_adapters(self) -> None:
        """Turn every run into an adapter."""
        for name, folder in self.runs().items():
            self.command("save", str(folder), "--out", str(self.work / "adapters" / name.replace("/", "-")))

    def logits(self, adapters: Path) -> bytes:
        """The logits of every adapter on fixed images, as a safetensors file."""
        out = self.work / "logits.safetensors"
        self.python("-c", LOGITS, str(adapters), str(out))
        return out.read_bytes()


def lay_out(commit: str, folder: Path) -> None:
    """Write the files of a commit into a folder."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")


def compare(before: Side, after: Side) -> dict[str, object]:
    """What is equal and what differs, by name."""
    ids = before.ids(), after.ids()
    for side in (before, after):
        side.train()
    runs = before.runs(), after.runs()
    learnt = [{name: _learnt(folder) for name, folder in each.items()} for each in runs]
    scores = [{name: _scores(folder) for name, folder in each.items()} for each in runs]
    before.save_adapters()
    adapters = before.work / "adapters"
    same_logits = before.logits(adapters) == after.logits(adapters)
    return {
        "runs_of_the_default_bench": {protocol: len(listed) for protocol, listed in ids[0].items()},
        "ids_differ": sorted(protocol for protocol in ids[0] if ids[0][protocol] != ids[1][protocol]),
        "trained_runs": len(runs[0]),
        "learnt_tensors_differ": sorted(name for name in learnt[0] if learnt[0][name] != learnt[1].get(name)),
        "scores_differ": sorted(name for name in scores[0] if scores[0][name] != scores[1].get(name)),
        "adapters_loaded": len(list(adapters.iterdir())),
        "logits_of_loaded_adapters_are_equal": same_logits,
    }


def _learnt(folder: Path) -> bytes | None:
    path = folder / "learnt.safetensors"
    return path.read_bytes() if path.exists() else None


def _scores(folder: Path) -> list[tuple[object, ...]]:
    content = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    scores = [{**score, **score.get("metrics", {})} for score in content["scores"]]  # up to version 2 without "metrics"
    return [(score["name"], score["hits"], score["nll"], score["ece"]) for score in scores]


def main() -> int:
    """Compare, print and write down."""
    parser = argparse.ArgumentParser(description="Compare this checkout's results with those of an earlier commit.")
    parser.add_argument("commit", help="the earlier commit")
    parser.add_argument("--work", type=Path, help="a folder to keep the runs in (default: a temporary one)")
    args = parser.parse_args()
    with TemporaryDirectory() as temporary:
        work = (args.work or Path(temporary)).resolve()
        lay_out(args.commit, work / "code")
        result = compare(Side(work / "code", work / "before"), Side(ROOT, work / "after"))
    text = json.dumps({"commit": args.commit, **result}, indent=1)
    print(text)
    RESULT.write_text(text + "\n", encoding="utf-8")
    differs = (result["ids_differ"], result["learnt_tensors_differ"], result["scores_differ"])
    return int(any(differs) or not result["logits_of_loaded_adapters_are_equal"])


if __name__ == "__main__":
    sys.exit(main())

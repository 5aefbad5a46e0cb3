"""What methods reach with several labels per image, on pictures composed of embedded icons.

python -m benchmarks.several_labels [--seeds 1,2,3]

Each training is `adaptkit.fit` on the table, with recipes as they are; the pictures are the same for all seeds, which
draw the shots. Beside mean average precision stand F1 at the thresholds that were chosen on folds of the training
images, and at scores of one half.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

import adaptkit
from benchmarks.collages import LABELS, write_collages
from benchmarks.timing import RESULTS, hardware
from datasets_fewshot.own.multi_label import MultiLabelDataset, load_multi_label
from trainers.evaluation.multi_label import judge_labels

FILE = RESULTS / "several_labels.json"
METHODS = ("zero_shot", "coop", "linear_probe", "taskres", "clip_adapter", "clip_lora")
MEASURES = (
    "mean_average_precision",
    "macro_f1",
    "micro_f1",
    "accuracy",
    "macro_f1_at_half",
    "micro_f1_at_half",
    "seconds",
)
PICTURES = 240  # for training, and as many for testing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="1,2,3", help="of the draws (default: 1,2,3)")
    parser.add_argument("--out", type=Path, default=FILE)
    args = parser.parse_args()
    seeds = [int(seed) for seed in args.seeds.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        table = write_collages(Path(folder), PICTURES, PICTURES)
        dataset = load_multi_label(table)
        targets = dataset.targets(dataset.images.split.test)
        every = judge_labels(np.ones(targets.shape), targets, np.zeros(len(LABELS)), dataset.classnames)
        rows = {}
        for method in METHODS:
            runs = [measured(method, seed, table, dataset) for seed in seeds]
            rows[method] = {
                name: [fmean(run[name] for run in runs), deviation([run[name] for run in runs])] for name in MEASURES
            }
            print(method, {name: round(mean, 1) for name, (mean, _) in rows[method].items()}, flush=True)
    content = {
        "command": f"python -m benchmarks.several_labels --seeds {args.seeds}",
        "hardware": hardware(),
        "pictures": {"train": PICTURES, "test": PICTURES},
        "labels": list(LABELS),
        "shots": 16,
        "seeds": seeds,
        "every label for every picture": {
            "mean_average_precision": every.mean_average_precision,
            "macro_f1": every.macro_f1,
            "micro_f1": every.micro_f1,
        },
        "mean and deviation over seeds": rows,
    }
    args.out.write_text(json.dumps(content, indent=1) + "\n")


def measured(method: str, seed: int, table: Path, dataset: MultiLabelDataset) -> dict[str, float]:
    """The results of one training."""
    started = time.process_time()
    result = adaptkit.fit(method, table, table.parent / f"{method}-{seed}", seed=seed)
    seconds = time.process_time() - started
    assert isinstance(result, adaptkit.MultiLabelFitResult)
    items = dataset.images.split.test
    scores = np.zeros((len(items), len(LABELS)))
    answers = result.method.predict([dataset.images.load(item) for item in items], topk=len(LABELS))
    for row, answer in enumerate(answers):
        scores[row, list(answer.indices)] = answer.probabilities
    half = judge_labels(scores - 0.5, dataset.targets(items), np.zeros(len(LABELS)), dataset.classnames)
    return {
        "mean_average_precision": result.mean_average_precision,
        "macro_f1": result.macro_f1,
        "micro_f1": result.micro_f1,
        "accuracy": result.accuracy,
        "macro_f1_at_half": half.macro_f1,
        "micro_f1_at_half": half.micro_f1,
        "seconds": seconds,
    }


def table_section() -> str:
    """A row per method: the mean over seeds, with the deviation of mean average precision."""
    content = json.loads(FILE.read_text())
    every, shots = content["every label for every picture"], content["shots"]
    lines = [
        f"{len(content['labels'])} labels, {shots} shots of each, {content['pictures']['test']} test pictures, the "
        f"embedded backbone, mean over {len(content['seeds'])} seeds of the draw, in percent; seconds are processor "
        "time of the whole training, with zero-shot beside it and three folds:",
        "",
        "| method | mAP | macro F1 | micro F1 | all labels right | macro F1 at one half | s |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, row in content["mean and deviation over seeds"].items():
        precision, spread = row["mean_average_precision"]
        others = ("macro_f1", "micro_f1", "accuracy", "macro_f1_at_half", "seconds")
        cells = [f"{precision:.1f} ± {spread:.1f}", *(f"{row[name][0]:.1f}" for name in others)]
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    lines += [
        "",
        "Answering every picture with every label has a mean average precision of "
        f"{every['mean_average_precision']:.1f}, a macro F1 of {every['macro_f1']:.1f} and a micro F1 of "
        f"{every['micro_f1']:.1f}.",
    ]
    return "\n".join(lines)


def deviation(values: list[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()

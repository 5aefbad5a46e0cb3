"""Whether a command that is killed loses anything: kills by the hundred, over all methods, wrappers and launchers.

    python -m benchmarks.kills [--kills 1000] [--seed N] [--out benchmarks/results/kills.json] [--work DIR]

Every command runs on a tiny CLIP and synthetic images, in a fork of this process, and is killed up to eight times:
the worker alone, the parent alone, the fork server alone or the whole group; at random, or at a point within the
write of a checkpoint, of learnt tensors, a record, an artefact, features or a claim; with SIGKILL, or with SIGTERM or
SIGINT. Then it is run to its end, and its files are compared with those of an undisturbed command. Finished runs must
stay as they are, and no process and no superfluous file may be left.

With --work, the rounds are appended to DIR/journal.jsonl, and the same command goes on from there. The exit code is 1
where anything was lost, different or left.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.kills.campaign import Campaign, tell_at_once
from benchmarks.kills.cases import SHARES, every_case
from benchmarks.kills.summary import FAULTS, summary

RESULT = Path(__file__).resolve().parent.parent / "results" / "kills.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a campaign and write what it found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000, help="(default: 1000)")
    parser.add_argument("--seed", type=int, default=1, help="of who is killed when (default: 1)")
    parser.add_argument("--out", type=Path, default=RESULT, help="(default: benchmarks/results/kills.json)")
    parser.add_argument("--work", type=Path, help="folder of the journal and of rounds with faults (default: none)")
    parser.add_argument("--launchers", help=f"only these, such as workers,together (default: {','.join(SHARES)})")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        cases = every_case()
        if args.launchers:
            cases = [case for case in cases if case.launcher in args.launchers.split(",")]
        campaign = Campaign(cases, args.kills, args.seed, (args.work or Path(folder)).resolve(), tell_at_once)
        campaign.go()
    tried = {case.launcher for case in cases}
    found = summary(campaign.rounds, [launcher for launcher in SHARES if launcher not in tried])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in found.items() if key in ("kills", *FAULTS)}, indent=1))
    return int(any(found[fault] for fault in FAULTS))


if __name__ == "__main__":
    sys.exit(main())

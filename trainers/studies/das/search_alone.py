"""Run DAS's architecture search without the training that follows it."""

from functools import partial
from pathlib import Path

from adaptkit.contract.architecture import Architecture
from trainers.bench.plan import open_bench, plan
from trainers.config.settings import BenchConfig
from trainers.runs.learning import make_method
from trainers.runs.search import find_architecture


def search_alone(config: BenchConfig, cache: Path) -> Architecture:
    """Search the architecture that the first run of a bench would find, and do nothing else of the run.

    Raises:
        ValueError: if the run has no search, or the bench has more than one run.
    """
    bench = open_bench(config, Path(), cache)
    runs = plan(config, bench, fresh=True).runs
    if len(runs) != 1:
        raise ValueError(
            f"{len(runs)} runs are asked for; name one data set, one method, one number of shots, one seed"
        )
    (run,) = runs
    make = partial(make_method, run, bench)
    if make(run.config.wrap).search() is None:
        raise ValueError("nothing is to be searched with these settings; set DAS.SELECT search and skip a block")
    architecture, _ = find_architecture(make, run.config, run.dataset, run.task, bench)
    return architecture

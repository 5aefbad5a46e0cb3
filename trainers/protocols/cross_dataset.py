"""Cross-data-set transfer: learn all classes of one data set, test on the others with their names in the prompts.

Zhou et al., "Conditional Prompt Learning for Vision-Language Models", arXiv:2203.05557.
"""

from datasets_fewshot import FewShotDataset, draw
from trainers.protocols.registry import EvalProtocol, register_protocol
from trainers.protocols.task import NO_TARGETS, EvalSet, Sources, Targets, Task, Wanted, classnames_of


def cross_dataset(
    source: FewShotDataset, shots: int, seed: int, draw_name: str = "coop", targets: Targets = NO_TARGETS
) -> Task:
    """Train on K shots of every class of the source; test on its test images, then on every target's.

    A target's prompts are the learnt ones, or the source's templates, around the target's class names.
    """
    drawn = draw(draw_name, source.split, shots, seed)
    names = classnames_of(drawn)
    others = (EvalSet(name, target, target.split.test, target.classnames) for name, target in targets.items())
    return Task(drawn.train, drawn.val, names, (EvalSet(source.name, source, drawn.test, names), *others))


def load_with_others(wanted: Wanted) -> Sources:
    """Load every data set once; each is tested on all the targets but itself."""
    loaded = {name: wanted.load(name) for name in dict.fromkeys((*wanted.datasets, *wanted.targets))}
    targets = {source: {name: loaded[name] for name in wanted.targets if name != source} for source in wanted.datasets}
    if not all(targets.values()):
        raise ValueError("cross_dataset needs a data set to test on besides the one to learn from; add to TARGETS")
    return Sources({name: loaded[name] for name in wanted.datasets}, targets)


CROSS_DATASET = register_protocol(
    EvalProtocol(
        name="cross_dataset",
        title="Cross-data-set",
        make_task=cross_dataset,
        load=load_with_others,
        targets="suite",
        layout="sources",
        new_names=True,
    )
)

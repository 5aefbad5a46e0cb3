"""Domain generalisation: learn all classes of one data set, test on images of the same classes that look different.

Zhou et al., "Conditional Prompt Learning for Vision-Language Models", arXiv:2203.05557, from ImageNet to its variants
V2, Sketch, A and R; in the embedded suite from some families of drawings to others.
"""

from dataclasses import replace

from datasets_fewshot import FewShotDataset, Split, draw, imagenet_labels, list_datasets
from trainers.protocols.registry import EvalProtocol, nearest, register_protocol
from trainers.protocols.task import NO_TARGETS, EvalSet, Sources, Targets, Task, Wanted

VARIANTS = "imagenet_variants"  # the suite of ImageNet's other test sets


def domain_generalization(
    source: FewShotDataset, shots: int, seed: int, draw_name: str = "coop", targets: Targets = NO_TARGETS
) -> Task:
    """Train on K shots of every class of the source; test on its test images, if any, then on every domain's.

    ImageNet-A and -R have 200 of ImageNet's classes, and are classified among these 200.
    """
    drawn = draw(draw_name, source.split, shots, seed)
    names = source.classnames
    own = (EvalSet(source.name, source, drawn.test, names),) if drawn.test else ()
    variants = list_datasets(VARIANTS)
    others = (
        EvalSet(name, domain, domain.split.test, domain.classnames, imagenet_labels(name) if name in variants else ())
        for name, domain in targets.items()
    )
    return Task(drawn.train, drawn.val, names, (*own, *others))


def load_domains(wanted: Wanted) -> Sources:
    """Load drawings of other families where families are named to learn from, else ImageNet and its variants."""
    if not wanted.targets:
        raise ValueError("TARGETS is empty; name the domains to test on")
    if wanted.families:
        learnt = ",".join(wanted.families)
        targets = {
            name: {family: wanted.load(name, train_families=learnt, test_family=family) for family in wanted.targets}
            for name in wanted.datasets
        }
        return Sources({name: _without_tests(next(iter(own.values()))) for name, own in targets.items()}, targets)
    if wanted.datasets != ("imagenet",):
        raise ValueError(
            f"DATASETS is {', '.join(wanted.datasets)}; in domain_generalization the papers learn from imagenet only"
        )
    variants = list_datasets(VARIANTS)
    for name in wanted.targets:
        if name not in variants:
            raise ValueError(f"TARGETS: there is no {name!r}; {nearest(name, variants)}")
    return Sources(
        {"imagenet": wanted.load("imagenet")}, {"imagenet": {name: wanted.load(name) for name in wanted.targets}}
    )


def _without_tests(dataset: FewShotDataset) -> FewShotDataset:
    """The data set without its test list, which is one of the domains."""
    return replace(dataset, split=Split(dataset.split.train, dataset.split.val, ()))


DOMAIN_GENERALIZATION = register_protocol(
    EvalProtocol(
        name="domain_generalization",
        title="Domain generalisation",
        make_task=domain_generalization,
        load=load_domains,
        targets="own",
        layout="domains",
    )
)

"""Base to novel: learn the base half of the classes, test on either half.

Zhou et al., "Conditional Prompt Learning for Vision-Language Models", arXiv:2203.05557. Each half of the test images is
classified against the names of its own half only, and the harmonic mean of the two accuracies ranks the methods.
"""

from datasets_fewshot import FewShotDataset, draw, select_classes
from trainers.protocols.registry import EvalProtocol, register_protocol
from trainers.protocols.task import NO_TARGETS, EvalSet, Targets, Task, classnames_of


def base_to_novel(
    dataset: FewShotDataset, shots: int, seed: int, draw_name: str = "coop", targets: Targets = NO_TARGETS
) -> Task:
    """Train on K shots of each base class; test on the base and on the new test images.

    The shots are drawn over all classes and halved afterwards, as the papers do.
    """
    drawn = draw(draw_name, dataset.split, shots, seed)
    base, new = select_classes(drawn, "base"), select_classes(drawn, "new")
    tests = tuple(
        EvalSet(name, dataset, half.test, classnames_of(half)) for name, half in (("base", base), ("new", new))
    )
    return Task(base.train, base.val, classnames_of(base), tests)


BASE_TO_NOVEL = register_protocol(
    EvalProtocol(
        name="base_to_novel",
        title="Base to novel",
        make_task=base_to_novel,
        tests={"base": "base", "new": "novel"},
        harmonic=("base", "new"),
        new_names=True,
    )
)

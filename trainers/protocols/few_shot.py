"""Few shot: learn 1 to 16 images of every class, test on all classes.

Zhou et al., "Learning to Prompt for Vision-Language Models", arXiv:2109.01134.
"""

from datasets_fewshot import FewShotDataset, draw
from trainers.protocols.registry import EvalProtocol, register_protocol
from trainers.protocols.task import NO_TARGETS, EvalSet, Targets, Task, classnames_of


def few_shot(
    dataset: FewShotDataset, shots: int, seed: int, draw_name: str = "coop", targets: Targets = NO_TARGETS
) -> Task:
    """Train on K shots of every class; test on all test images."""
    drawn = draw(draw_name, dataset.split, shots, seed)
    names = classnames_of(drawn)
    return Task(drawn.train, drawn.val, names, (EvalSet("all", dataset, drawn.test, names),))


FEW_SHOT = register_protocol(
    EvalProtocol(
        name="few_shot", title="Few shot", make_task=few_shot, tests={"all": "all"}, layout="shots", oracle=True
    )
)

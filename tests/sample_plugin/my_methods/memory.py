"""Memory: learn K images of every class and test on these very images, as a protocol of another distribution."""

from datasets_fewshot import FewShotDataset, draw
from trainers.protocols.registry import EvalProtocol, register_protocol
from trainers.protocols.task import NO_TARGETS, EvalSet, Targets, Task, classnames_of


def memory(
    dataset: FewShotDataset, shots: int, seed: int, draw_name: str = "coop", targets: Targets = NO_TARGETS
) -> Task:
    """Train on K shots of every class; test on the same images."""
    drawn = draw(draw_name, dataset.split, shots, seed)
    names = classnames_of(drawn)
    return Task(drawn.train, drawn.val, names, (EvalSet("learnt", dataset, drawn.train, names),))


MEMORY = register_protocol(
    EvalProtocol(name="memory", title="Memory", make_task=memory, tests={"learnt": "learnt images"})
)

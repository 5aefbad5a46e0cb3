"""Measure steps on a device: time, memory, waits of the host, and CUDA graphs."""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from adaptkit import AdaptedCLIP
from adaptkit.contract.replicas import side_by_side
from benchmarks.timing import kept_mb
from trainers.compute.precision import Precision, autocast
from trainers.config.training import OptimConfig
from trainers.training.optim import build_optimizer
from trainers.training.replica_optim import ReplicaOptimizer

Step = Callable[[], object]
WARM_UP = 3  # number of warm-up steps


class TrainStep:
    """One optimiser step of a method on a batch, as in `training.few_shot.train`: SGD, with learnt tensors in fp32.

    Args:
        x: the method's input; write new batches into it with `copy_`.
        compiled: whether the loss runs through torch.compile.
    """

    def __init__(self, method: AdaptedCLIP, x: Tensor, labels: Tensor, precision: Precision, *, compiled: bool = False):
        self.method, self.x, self.labels, self.precision = method.train(), x, labels, precision
        self.optimizer = build_optimizer(method.learnt_parameters().values(), OptimConfig())
        self.compiled_loss = torch.compile(method.loss) if compiled else None

    def __call__(self) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.x.device, self.precision):
            if self.compiled_loss is None:
                loss = self.method.backward(self.x, self.labels)
            else:
                loss = self.compiled_loss(self.x, self.labels)
                loss.backward()
        self.optimizer.step()
        return loss.detach()


class ReplicaStep:
    """One step of R methods side by side, as in `training.replicas`: SGD, with learnt tensors in fp32.

    Args:
        x: (R, B, ...), the methods' inputs.
        labels: (R, B) int64.
    """

    def __init__(self, methods: Sequence[AdaptedCLIP], x: Tensor, labels: Tensor, precision: Precision):
        self.method, self.x, self.labels, self.precision = methods[0].train(), x, labels, precision
        self.replicas, optims = side_by_side(methods), [OptimConfig()] * len(methods)
        self.optimizer = ReplicaOptimizer(self.replicas.learnt, optims, self.method)
        self.rates = [optim.lr for optim in optims]

    def __call__(self) -> Tensor:
        with autocast(self.x.device, self.precision):
            losses = self.method.backward_replicas(self.replicas, self.x, self.labels)
        self.optimizer.step(self.rates)
        return losses


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_per_step(step: Step, device: torch.device, seconds: float) -> float:
    """Mean seconds of a warm step, over as many steps as fit into `seconds`, at least one."""
    for _ in range(WARM_UP):
        step()
    one = timed(step, 1, device)
    return timed(step, max(1, int(seconds / one)), device)


def timed(step: Step, count: int, device: torch.device) -> float:
    """Mean seconds of `count` steps."""
    synchronise(device)
    start = time.perf_counter()
    for _ in range(count):
        step()
    synchronise(device)
    return (time.perf_counter() - start) / count


def memory(step: Step, device: torch.device) -> dict[str, float]:
    """Memory of a step in MB: on CUDA the peak of the allocated memory, weights included, and the step's part of it.

    On other devices, the activations that a step keeps for its backward pass are counted.
    """
    if device.type != "cuda":
        return {"kept_mb": kept_mb(step)}
    synchronise(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    step()
    synchronise(device)
    peak = torch.cuda.max_memory_allocated(device)
    return {"peak_mb": peak / 1e6, "step_mb": (peak - before) / 1e6}


def waits_for_device(step: Step) -> str | None:
    """The operation that makes the host wait for the CUDA device in a warm step, in torch's words, or None."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return None


class GraphStep:
    """A warm step without waits, captured as one CUDA graph, which computes on the current contents of its tensors.

    The warm-up steps change learnt tensors and momentum; capturing computes nothing.
    """

    def __init__(self, step: Step):
        self.step = step  # keeps the optimiser alive, whose state the graph writes to
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            step()

    def __call__(self) -> None:
        self.graph.replay()


def fastest(step: Step, device: torch.device) -> tuple[Step, str]:
    """Make the step a CUDA graph if possible; return the step, and how it runs, with the reason."""
    if device.type != "cuda":
        return step, "eager: no CUDA device"
    step()
    reason = waits_for_device(step)
    return (GraphStep(step), "CUDA graph") if reason is None else (step, f"eager: {reason}")

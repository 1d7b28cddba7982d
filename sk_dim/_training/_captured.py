"""The training step as a CUDA graph: recorded once, then replayed in one call.

A small net keeps a GPU busy for a few milliseconds a step, but to send it the hundreds
of kernels one by one takes the CPU several times as long. A graph sends them at once.
What is recorded reads and writes tensors that stay where they are: weights, moments,
rates, and a buffer for the batch. So nothing of a step may depend on what the host
knows of the values.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor

from sk_dim._training._callbacks import OwnCallback
from sk_dim._validation import warn
from sk_dim.encoders._contract import trait

N_BEFORE = 10  # steps that are computed before one is recorded, which takes as long
N_AHEAD = 3  # steps that the host may be ahead of the device
HOOKS = ("on_batch_begin", "on_batch_end", "on_grad_computed")


def can_record(net: Any, groups: Tensor | None) -> bool:
    """Say whether steps of a net are the same operations for all batches.

    They are not where a part of the user may do anything in a step, where several
    processes talk, and where which pairs are negatives depends on the rows.
    """
    if net.device.type != "cuda" or net.ranks.size > 1 or groups is not None:
        return False
    is_compiled = getattr(net.module_, "compile_mode", None) is not None
    is_static = trait(net.module_, "is_static") and not is_compiled
    return is_static and not net.has_own_parts


def graphs_of(net: Any, groups: Tensor | None) -> "StepGraphs | None":
    """Return what replays the steps of a training, None where they are computed.

    They are where callbacks look at them, too.
    """
    is_seen = any(_looks_at_steps(callback) for _, callback in net.callbacks_)
    if is_seen or not can_record(net, groups):
        return None
    return StepGraphs(net, partial(_light_step, net))


def _light_step(net: Any, batch: Tensor) -> dict[str, Any]:
    """Do a step, and return only what is read: all else would be kept for nothing."""
    step = net.compute_step(batch)
    terms = {name: term.detach() for name, term in step["terms"].items()}
    return {"loss": step["loss"].detach(), "y_pred": None, "terms": terms}


def _looks_at_steps(callback: Callback) -> bool:
    kind = type(callback)
    is_own = isinstance(callback, OwnCallback)
    return not is_own and any(
        getattr(kind, hook) is not getattr(Callback, hook) for hook in HOOKS
    )


class StepGraphs:
    """Computes the first steps of a training, then replays graphs of one.

    Batches differ by a row at most, so there are two graphs, which share their memory.

    Parameters
    ----------
    owner : object
        With a `device`, and a `generator` that steps draw from, or None where that is
        the global one.
    compute : callable
        Does a step with some tensors, and returns tensors, with no gradients.
    """

    def __init__(self, owner: Any, compute: Callable[..., Any]) -> None:
        self.owner = owner
        self.compute = compute
        self.stream = torch.cuda.Stream(owner.device)
        self.pool = torch.cuda.graph_pool_handle()
        self.recorded: dict[int, tuple[torch.cuda.CUDAGraph, list[Tensor], Any]] = {}
        self.ends: deque[torch.cuda.Event] = deque()
        self.n_done = 0
        self.is_refused = False

    def __call__(self, *inputs: Tensor) -> Any:
        """Do a step; what it returns is written over by the next one."""
        self.n_done += 1
        if self.is_refused:
            return self.compute(*inputs)
        if self.n_done <= N_BEFORE:
            return self._compute_aside(inputs)
        size = len(inputs[0])
        if size not in self.recorded and not self._record(inputs):
            return self.compute(*inputs)
        graph, buffers, found = self.recorded[size]
        for buffer, given in zip(buffers, inputs, strict=True):
            buffer.copy_(given)
        graph.replay()
        self._wait()
        return found

    def _compute_aside(self, inputs: tuple[Tensor, ...]) -> Any:
        """Compute a step on the stream that is recorded later, as torch asks for."""
        present = torch.cuda.current_stream(self.owner.device)
        self.stream.wait_stream(present)
        with torch.cuda.stream(self.stream):
            found = self.compute(*inputs)
        present.wait_stream(self.stream)
        return found

    def _record(self, inputs: tuple[Tensor, ...]) -> bool:
        """Record the step of a batch of this size, and say whether that went well."""
        graph, buffers = torch.cuda.CUDAGraph(), [each.clone() for each in inputs]
        generator, state = self.owner.generator, None
        if generator is not None:
            state = generator.get_state()
            graph.register_generator_state(generator)
        try:
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
                found = self.compute(*buffers)
        except RuntimeError as error:
            self._refuse(state, error)
            return False
        self.recorded[len(inputs[0])] = graph, buffers, found
        return True

    def _refuse(self, state: Tensor | None, error: RuntimeError) -> None:
        """Go on without graphs, with a generator that knows of none."""
        if state is not None:
            self.owner.generator = torch.Generator(self.owner.device)
            self.owner.generator.set_state(state)
        self.is_refused = True
        self.recorded.clear()
        reason = str(error).strip().splitlines()[0]
        warn(
            f"the training step could not be recorded as a CUDA graph ({reason}), so "
            "it is slower than it could be; please report it."
        )

    def _wait(self) -> None:
        """Let the host be few steps ahead, so that it knows what time they take."""
        end = torch.cuda.Event()
        end.record(torch.cuda.current_stream(self.owner.device))
        self.ends.append(end)
        if len(self.ends) > N_AHEAD:
            self.ends.popleft().synchronize()

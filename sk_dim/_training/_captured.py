"""The training step as a CUDA graph: recorded once, then replayed in one call.

A small net keeps a GPU busy for a few milliseconds a step, but to send it the hundreds
of kernels one by one takes the CPU several times as long. A graph sends them at once.
What is recorded reads and writes tensors that stay where they are: weights, moments,
rates, and a buffer for the batch. So nothing of a step may depend on what the host
knows of the values.
"""

from collections import deque
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


def graphs_of(net: Any, groups: Tensor | None) -> "StepGraphs | None":
    """Return what replays the steps of a training, None where they are computed.

    They are where a part or a callback of the user may do anything in a step, where
    several processes talk, and where which pairs are negatives depends on the rows.
    """
    if net.device.type != "cuda" or net.ranks.size > 1 or groups is not None:
        return None
    if net.has_own_parts or not trait(net.module_, "is_static"):
        return None
    if getattr(net.module_, "compile_mode", None) is not None:
        return None
    if any(_looks_at_steps(callback) for _, callback in net.callbacks_):
        return None
    return StepGraphs(net)


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
    net : InfomaxNet
        With ``compute_step(batch)``, and `generator`, from which a step draws.
    """

    def __init__(self, net: Any) -> None:
        self.net = net
        self.stream = torch.cuda.Stream(net.device)
        self.pool = torch.cuda.graph_pool_handle()
        self.recorded: dict[int, tuple[torch.cuda.CUDAGraph, Tensor, dict]] = {}
        self.ends: deque[torch.cuda.Event] = deque()
        self.n_done = 0
        self.is_refused = False

    def __call__(self, batch: Tensor) -> dict[str, Any]:
        """Do a step; what it returns is written over by the next one."""
        self.n_done += 1
        if self.is_refused:
            return self.net.compute_step(batch)
        if self.n_done <= N_BEFORE:
            return self._compute_aside(batch)
        if len(batch) not in self.recorded and not self._record(batch):
            return self.net.compute_step(batch)
        graph, buffer, step = self.recorded[len(batch)]
        buffer.copy_(batch)
        graph.replay()
        self._wait()
        return step

    def _compute_aside(self, batch: Tensor) -> dict[str, Any]:
        """Compute a step on the stream that is recorded later, as torch asks for."""
        present = torch.cuda.current_stream(self.net.device)
        self.stream.wait_stream(present)
        with torch.cuda.stream(self.stream):
            step = self.net.compute_step(batch)
        present.wait_stream(self.stream)
        return step

    def _record(self, batch: Tensor) -> bool:
        """Record the step of a batch of this size, and say whether that went well."""
        net = self.net
        graph, buffer = torch.cuda.CUDAGraph(), batch.clone()
        state = net.generator.get_state()
        graph.register_generator_state(net.generator)
        try:
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
                step = net.compute_step(buffer)
        except RuntimeError as error:
            self._refuse(state, error)
            return False
        # Only what is read: the rest of the graph of gradients is for nothing.
        step["terms"] = {name: term.detach() for name, term in step["terms"].items()}
        step["loss"] = step["loss"].detach()
        step["y_pred"] = None
        self.recorded[len(batch)] = graph, buffer, step
        return True

    def _refuse(self, state: Tensor, error: RuntimeError) -> None:
        """Go on without graphs, with a generator that knows of none."""
        net = self.net
        net.generator = torch.Generator(net.device)
        net.generator.set_state(state)
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
        end.record(torch.cuda.current_stream(self.net.device))
        self.ends.append(end)
        if len(self.ends) > N_AHEAD:
            self.ends.popleft().synchronize()

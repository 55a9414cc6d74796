"""Whole steps as CUDA graphs: recorded once and launched as one, instead of some hundred kernels one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ue_bench.clock import Clock
from ue_bench.errors import TrainingError

WARM_UP = 3  # calls before the recording, in which libraries choose kernels and optimizers make their states


class Captured:
    """A function of tensors that is recorded at its fourth call and replayed from then on.

    The first calls do the same work as ordinary ones, so that nothing has to be undone. Inputs are copied to where the
    recording reads them. A call with other shapes, such as an epoch's last and smaller batch, is an ordinary one.

    Args:
        function: tensors on a CUDA device -> a tensor, or None. Whatever else it reads and changes must stay at its
            place in memory (weights, statistics, optimizer states, sums), and it must not wait for the device. Python
            values that it reads are those of the recording.
        generators: on the device, from which it draws; each replay draws anew, as an ordinary call would.
        clock: in whose present phase the function counts operations, which a replay counts, too.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        generators: Sequence[torch.Generator] = (),
        clock: Clock | None = None,
    ):
        self._function, self._generators = function, generators
        self._clock, self._flop = clock or Clock(torch.device("cpu")), dict[str, float]()
        self._calls = 0
        self._shapes: tuple[torch.Size, ...] = ()
        self._inputs: tuple[Tensor, ...] = ()
        self._output: Any = None
        self._stream: Any = None
        self._replay: Callable[[], None] | None = None

    def __call__(self, *given: Tensor) -> Any:
        """The function's result; from the recording on, a tensor that the next call overwrites."""
        shapes = tuple(tensor.shape for tensor in given)
        if not self._calls:
            self._shapes, self._stream = shapes, _side_stream(given[0].device)
        if shapes != self._shapes or self._calls < WARM_UP:
            self._calls += shapes == self._shapes
            return _aside(self._function, given, self._stream)
        if self._replay is None:
            self._record(given)  # which counts the operations of this call
        else:
            for dtype, flop in self._flop.items():
                self._clock.count_flop(dtype, flop)
        for place, tensor in zip(self._inputs, given, strict=True):
            place.copy_(tensor)
        assert self._replay is not None
        self._replay()
        return self._output

    def _record(self, given: tuple[Tensor, ...]) -> None:
        self._inputs, before = tuple(tensor.clone() for tensor in given), self._clock.counted()
        try:
            self._output, self._replay = _recorded(
                self._function, self._inputs, self._generators, self._stream
            )
        except RuntimeError as error:
            raise TrainingError(
                f"this step cannot be recorded as a CUDA graph ({error}): leave cuda_graphs=true out"
            ) from error
        self._flop = {name: flop - before.get(name, 0.0) for name, flop in self._clock.counted().items()}


def _side_stream(device: torch.device) -> Any:
    """The stream on which a function is called and recorded: what autograd and libraries keep belongs to one stream."""
    return torch.cuda.Stream(device)


def _aside(function: Callable[..., Any], given: tuple[Tensor, ...], stream: Any) -> Any:
    """Calls the function on the stream; all that was begun before ends before it, and it ends before what follows."""
    usual = torch.cuda.current_stream(stream.device)
    stream.wait_stream(usual)
    with torch.cuda.stream(stream):
        result = function(*given)
    usual.wait_stream(stream)
    return result


def _recorded(
    function: Callable[..., Any],
    inputs: tuple[Tensor, ...],
    generators: Sequence[torch.Generator],
    stream: Any,
) -> tuple[Any, Callable[[], None]]:
    """(where the result will be, what replays the function); nothing is computed."""
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.device(stream.device), torch.cuda.graph(graph, stream=stream):
        output = function(*inputs)
    return output, graph.replay

"""What autograd keeps between the forward and the backward, and how it keeps less."""

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

__all__ = ["recompute_activations"]

_ACTIVATIONS = (
    torch.ops.mpelu.elu,
    torch.ops.mpelu.mpelu,
    torch.ops.mpelu.batch_norm_mpelu,
    torch.ops.mpelu.batch_norm_mpelu_evaluation,
)


@contextlib.contextmanager
def recompute_activations() -> Iterator[None]:
    r"""Inside, autograd does not keep the outputs of ELU, SPELU, MPELU and BatchNormMPELU.

    A layer keeps its input for the backward, and where that is an activation's output, it is kept
    beside the activation's own input. Here the backward computes it again from that input (of
    activations in a row, from the first one's), which leaves half of the tensors in a chain of
    convolutions and activations. The gradients are the same to the bit, for all parameters; running
    statistics move once.

    Only the forward needs to be inside; the context also is a decorator for it. As always in
    autograd, what the backward needs must not be modified in place before it; that here includes
    what the output is computed from, such as ``alpha``. Nor may an output be modified by way of its
    ``.data``, which autograd does not see: the backward would compute it without the change.

    Outputs that were modified in place since are kept, and so is what :func:`torch.compile`
    chooses to keep: enter the context outside of a compiled function. What TorchScript compiled
    keeps its outputs. Of several :class:`torch.autograd.graph.saved_tensors_hooks` the innermost
    one decides, and :func:`torch.func.grad` works with none of them.

    Raises:
        RuntimeError: by the backward, if a tensor that it needs was modified in place.

    Example::

        >>> model = mpelu.models.mpelu_resnet(20, num_classes=10)
        >>> with mpelu.autograd.recompute_activations():
        ...     scores = model(torch.randn(8, 3, 32, 32))
        >>> scores.logsumexp(1).mean().backward()
    """
    recorder = _Recorder()
    try:
        with recorder, saved_tensors_hooks(recorder.pack, lambda packed: packed.unpack()):
            yield
    finally:
        recorder.outputs.clear()


class _Kept(NamedTuple):
    """A tensor that is kept. Under hooks it is theirs to check that it does not change."""

    tensor: Tensor
    version: int

    @classmethod
    def of(cls, tensor: Tensor) -> "_Kept":
        # Not the tensor itself: an operator that saves its own output would keep itself alive.
        return cls(tensor.detach(), tensor._version)

    def unpack(self) -> Tensor:
        if self.tensor._version != self.version:
            raise RuntimeError(
                "a tensor needed for gradient computation has been modified by an inplace "
                f"operation: {self.tensor.type()} {list(self.tensor.shape)} is at version "
                f"{self.tensor._version}; expected version {self.version}"
            )
        return self.tensor


class _Activation:
    """A call of an activation, to be repeated. How it keeps its tensors is up to ``pack``."""

    def __init__(
        self,
        op: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        pack: Callable[[Tensor], "_Kept | _Recomputed"],
    ) -> None:
        arguments = {**dict(zip(_names(op), args, strict=False)), **kwargs}
        if arguments.get("training"):  # the statistics have moved, once for all
            arguments |= {"running_mean": None, "running_var": None}
        self.op = op
        self.arguments = {
            name: pack(value) if isinstance(value, Tensor) else value
            for name, value in arguments.items()
        }

    def output(self) -> Tensor:
        arguments = {
            name: value.unpack() if isinstance(value, (_Kept, _Recomputed)) else value
            for name, value in self.arguments.items()
        }
        with torch.no_grad():
            return _output_of(self.op(**arguments))


class _Recomputed(NamedTuple):
    """The output of an activation, or a view of it."""

    activation: _Activation
    size: torch.Size
    stride: tuple[int, ...]
    storage_offset: int | torch.SymInt

    def unpack(self) -> Tensor:
        return self.activation.output().as_strided(self.size, self.stride, self.storage_offset)


class _Output(NamedTuple):
    """The output of an activation as it was when the call returned."""

    tensor: weakref.ref[Tensor]
    version: int
    dtype: torch.dtype
    activation: _Activation

    def is_in(self, other: Tensor) -> bool:
        """Whether a tensor still has the output's values, as itself or as a view of it.

        The output is asked for its storage anew: where ``.data`` was set, another tensor may have
        the address of the first one.
        """
        tensor = self.tensor()
        return (
            tensor is not None
            and tensor.untyped_storage()._cdata == other.untyped_storage()._cdata
            and (self.version, self.dtype) == (other._version, other.dtype)
        )


class _Recorder(TorchFunctionMode):
    """Knows which tensors are outputs of activations, as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        #: By their storages.
        self.outputs: dict[int, _Output] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if torch.compiler.is_compiling():
            return result
        if getattr(func, "overloadpacket", func) in _ACTIVATIONS:
            output = _output_of(result)
            if output.requires_grad:
                self.record(output, _Activation(func, args, kwargs, self.pack))
        return result

    def record(self, output: Tensor, activation: _Activation) -> None:
        """Remembers an output until it is freed."""
        storage = output.untyped_storage()._cdata
        self.outputs[storage] = _Output(
            weakref.ref(output), output._version, output.dtype, activation
        )
        weakref.finalize(output, self.outputs.pop, storage, None)

    def pack(self, tensor: Tensor) -> _Kept | _Recomputed:
        """What autograd saves in place of a tensor."""
        if tensor.layout != torch.strided:  # without a storage
            return _Kept.of(tensor)
        found = self.outputs.get(tensor.untyped_storage()._cdata)
        if found is None or not found.is_in(tensor):
            return _Kept.of(tensor)
        return _Recomputed(
            found.activation, tensor.size(), tensor.stride(), tensor.storage_offset()
        )


@functools.cache
def _names(op: Any) -> tuple[str, ...]:
    """Of the operator's arguments."""
    return tuple(argument.name for argument in getattr(op, "default", op)._schema.arguments)


def _output_of(result: Tensor | tuple[Tensor, ...]) -> Tensor:
    return result if isinstance(result, Tensor) else result[0]

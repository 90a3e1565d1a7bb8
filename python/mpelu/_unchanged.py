"""What a model is looked at with: each of these leaves it, and the random numbers, as they were."""

import pickle
import random
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


@contextmanager
def state_restored(model: nn.Module) -> Iterator[None]:
    """Undoes what running or tracing a model leaves on its modules.

    That is what a forward() sets, registers, or puts into a list, dict or set there, what it writes
    into buffers and other tensors there that are no parameters, and torch.fx's constants.
    """
    attributes: list[Any] = [vars(module) for module in model.modules()]
    containers = [
        value
        for values in map(dict.values, attributes)
        for value in values
        if type(value) in (dict, OrderedDict, defaultdict, list, set)
    ]
    before = [(container, container.copy()) for container in attributes + containers]
    tensors = [
        (tensor, tensor._version, tensor.detach().clone())
        for _, content in before
        for tensor in (content.values() if isinstance(content, dict) else content)
        if _can_be_written(tensor)
    ]
    try:
        yield
    finally:
        for tensor, version, content in tensors:
            if tensor._version != version:
                with torch.no_grad():
                    tensor.copy_(content)
        for container, content in before:
            container.clear()
            add = container.extend if isinstance(container, list) else container.update
            add(content)


def _can_be_written(value: Any) -> TypeGuard[Tensor]:
    """Whether a forward may write into it; parameters are the optimizer's to write."""
    if not isinstance(value, Tensor) or isinstance(value, nn.Parameter):
        return False
    return not (is_lazy(value) or value.is_inference())


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Puts every module in one mode for a while; they may be in different ones before."""
    before = {module: module.training for module in model.modules()}
    try:
        for module in before:
            module.training = training
        yield
    finally:
        for module, mode in before.items():
            module.training = mode


@contextmanager
def drawing_nothing() -> Iterator[None]:
    """Refuses code that draws random numbers: what it does next time may be something else."""
    numpy: Any = sys.modules.get("numpy.random")
    of_torch, of_python = torch.get_rng_state(), random.getstate()
    of_numpy = pickle.dumps(numpy and numpy.get_state())  # as bytes, which compare
    try:
        yield
        drawn = (
            torch.get_rng_state().tolist() != of_torch.tolist()  # lists, as tensors may be fake
            or random.getstate() != of_python
            or pickle.dumps(numpy and numpy.get_state()) != of_numpy
        )
        if drawn:
            raise RuntimeError("the forward draws random numbers")
    except Exception:
        torch.set_rng_state(of_torch)
        random.setstate(of_python)
        if numpy:
            numpy.set_state(pickle.loads(of_numpy))
        raise

"""Exchanging the modules of a model."""

from collections.abc import Mapping
from itertools import chain

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


def is_plain(module: nn.Module) -> bool:
    """Whether nothing but its type decides what a module does (a parametrization changes that)."""
    attributes = vars(module)
    hooked = any(value for name, value in attributes.items() if name.endswith("_hooks"))
    return not hooked and "forward" not in attributes


def held_elsewhere(model: nn.Module) -> list[nn.Module]:
    """Modules that are in an attribute, or a list, dict or tuple there, which replace leaves alone.

    One is in this list as often as it is found.
    """
    attributes = [
        value
        for parent in model.modules()
        for name, value in vars(parent).items()
        if name != "_modules"
    ]
    return [leaf for leaf in tree_leaves(attributes) if isinstance(leaf, nn.Module)]


def first_float(*modules: nn.Module) -> Tensor:
    """A tensor that shows the device and dtype of a model, or torch's defaults if it has none."""
    tensors = chain.from_iterable(chain(m.parameters(), m.buffers()) for m in modules)
    return next((tensor for tensor in tensors if tensor.is_floating_point()), torch.empty(()))


def replace(model: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> None:
    """Puts modules, in their mode, where others are, under every name that these have."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and child in replacements:
                replacements[child].training = child.training
                parent.add_module(name, replacements[child])

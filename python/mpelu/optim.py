"""Parameter groups: the activations' parameters learn at their own rate."""

import re
from collections.abc import Iterator
from typing import TypedDict

from torch.nn import Module, Parameter

from mpelu import _validate
from mpelu.nn import BatchNormMPELU, ParametricELU

__all__ = ["ParamGroup", "param_groups"]

# alpha and beta, or what a parametrization or pruning computes them from.
_LEARNED = re.compile(r"(parametrizations\.)?(alpha|beta)(_orig|\..+)?")


class ParamGroup(TypedDict):
    """A parameter group, as every optimiser of :mod:`torch.optim` takes it."""

    params: list[Parameter]
    lr: float
    weight_decay: float


def param_groups(
    model: Module,
    lr: float,
    weight_decay: float,
    activation_lr_mult: float = 5.0,
    activation_decay_mult: float = 10.0,
) -> list[ParamGroup]:
    """Splits a model's parameters in two groups: alpha and beta of its activations, and the rest.

    The defaults are those of the residual networks in Li et al. 2016 (arXiv:1606.00305). Every
    parameter is in exactly one group, once, also when modules share it. Frozen ones
    (``requires_grad=False``) are included, as in ``model.parameters()``: optimisers skip a
    parameter that has no gradient, and it may be unfrozen later. An alpha or beta that is
    parametrized (:mod:`torch.nn.utils.parametrize`) or pruned counts by what it is computed from.
    A model in FullyShardedDataParallel needs its ``use_orig_params=True``, since parameters that
    it has flattened cannot be told apart.

    Args:
        model: the model to train.
        lr: the learning rate of the other parameters.
        weight_decay: the weight decay of the other parameters.
        activation_lr_mult: alpha and beta learn at ``lr * activation_lr_mult``. Default: 5.0
        activation_decay_mult: alpha and beta decay with ``weight_decay * activation_decay_mult``.
            Default: 10.0

    Returns:
        list[ParamGroup]: the other parameters' group and then the activations', each in the order
        of ``model.parameters()``. A group without parameters is empty, not absent.

    Example::

        >>> groups = mpelu.optim.param_groups(model, lr=0.1, weight_decay=1e-4)
        >>> optimizer = torch.optim.SGD(groups, momentum=0.9, nesterov=True)
    """
    if not isinstance(model, Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    lr = _validate.non_negative("lr", lr)
    weight_decay = _validate.non_negative("weight_decay", weight_decay)
    lr_mult = _validate.non_negative("activation_lr_mult", activation_lr_mult)
    decay_mult = _validate.non_negative("activation_decay_mult", activation_decay_mult)

    learned = {id(parameter) for parameter in _activation_parameters(model)}
    parameters = list(model.parameters())
    return [
        {
            "params": [p for p in parameters if id(p) not in learned],
            "lr": lr,
            "weight_decay": weight_decay,
        },
        {
            "params": [p for p in parameters if id(p) in learned],
            "lr": lr * lr_mult,
            "weight_decay": weight_decay * decay_mult,
        },
    ]


def _activation_parameters(model: Module) -> Iterator[Parameter]:
    for module in model.modules():
        if isinstance(module, (ParametricELU, BatchNormMPELU)):
            for name, parameter in module.named_parameters():
                if _LEARNED.fullmatch(name):
                    yield parameter

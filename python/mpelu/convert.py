r"""Conversion of whole models, in place: learned activations in, batch norm fused or folded away.

.. code-block:: python

    model = torchvision.models.resnet50(weights="DEFAULT")
    mpelu.convert.split_shared_activations_(model)
    mpelu.convert.replace_activations_(model, example_input=torch.randn(1, 3, 224, 224))
    mpelu.convert.fuse_batch_norm_(model)
    ...  # train
    mpelu.convert.fold_batch_norm_(model.eval())

Modules are exchanged, under the names that they are registered by; what a model's own code does
between them stays.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mpelu._dataflow import TRANSPOSED, Layer, module_calls
from mpelu._replace import replace_activations_
from mpelu._split import split_shared_activations_
from mpelu._surgery import first_float, held_elsewhere, is_plain, replace
from mpelu.nn import ELU, MPELU, SPELU, BatchNormMPELU1d, BatchNormMPELU2d, BatchNormMPELU3d

__all__ = [
    "fold_batch_norm_",
    "fuse_batch_norm_",
    "replace_activations_",
    "split_shared_activations_",
]

_FUSED: dict[type[nn.Module], Callable[..., nn.Module]] = {
    nn.BatchNorm1d: BatchNormMPELU1d,
    nn.BatchNorm2d: BatchNormMPELU2d,
    nn.BatchNorm3d: BatchNormMPELU3d,
}
_NORMS = (*_FUSED, *_FUSED.values())
_LAYERS = get_args(Layer)

# The activations that do not learn their alpha, which is 0 for ReLU.
_FIXED = (ELU, nn.ELU, nn.ReLU)


def fuse_batch_norm_(model: nn.Module) -> nn.Module:
    r"""Replaces each batch norm and the activation right after it by one fused module, in place.

    A :class:`torch.nn.BatchNorm1d`, ``2d`` or ``3d`` becomes a :class:`mpelu.nn.BatchNormMPELU1d`,
    ``2d`` or ``3d`` with the same settings, mode, parameters and buffers (the same tensors: an
    optimiser that has them keeps them), and the activation becomes :class:`torch.nn.Identity`. The
    model's outputs, gradients and running statistics stay the same.

    The activation is one of :class:`mpelu.MPELU` and :class:`mpelu.SPELU` with ``dim=1``, whose
    parameters move into the fused module; or :class:`mpelu.ELU`, :class:`torch.nn.ELU` or
    :class:`torch.nn.ReLU`, whose alpha (0 for ReLU) does not start to learn: it becomes a frozen
    parameter (``requires_grad=False``) of one element. Unfreezing the whole model, as by
    ``model.requires_grad_(True)``, lets it learn too.

    What follows what is read off the model with :mod:`torch.fx`, in training and in evaluation
    mode, with and without its optional arguments. A part whose forward does not trace, draws random
    numbers in Python or has more than three optional arguments or ``**kwargs`` stays as it is. The
    parts inside it are looked at one by one: a :class:`torch.nn.Sequential`, which is taken to run
    from its beginning to its end, and modules that have no public methods but their forward.
    Identities between the two do not count. A pair stays as it is where

    * the batch norm's output has another user, is kept in an attribute, or goes into an activation
      that is a function;
    * the batch norm or the activation is called at, or registered in, more than one place, in one
      of the two modes alone, is in a plain list, dict or tuple too, or its parameters are used
      elsewhere. A ReLU may be in several places: it changes nothing in what a ReLU put out, so that
      the fused module gets its own and the shared one stays for its other users (as in
      torchvision's residual networks);
    * one of them, or a module that only one of them is in, has hooks;
    * one of them has parametrizations or is a subclass, as :class:`torch.nn.SyncBatchNorm` is.

    timm's ``BatchNormAct2d``, which has its activation inside, becomes a fused module too.

    In the state dict alpha and beta then have the batch norm's name: checkpoints of the model as it
    was are loaded before it is fused.

    Args:
        model: the model; it may be trained on or evaluated afterwards.

    Returns:
        nn.Module: ``model`` itself.

    Example::

        >>> model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), mpelu.MPELU(16))
        >>> mpelu.convert.fuse_batch_norm_(model)
    """
    elsewhere = set(held_elsewhere(model))
    replacements: dict[nn.Module, nn.Module] = {
        norm: _fused(norm, norm.act, first_float(norm, model))
        for norm in model.modules()
        if _has_activation(norm) and norm not in elsewhere
    }
    followers, used_once = _sole_followers(model, modes=(True, False))
    for norm, activation in followers.items():
        fusable = type(norm) in _FUSED and _can_be_fused(activation)
        if not fusable or not is_plain(norm) or not is_plain(activation):
            continue
        if activation in used_once:
            replacements[activation] = nn.Identity()
        elif type(activation) is not nn.ReLU:
            continue
        replacements[norm] = _fused(norm, activation, first_float(norm, model))
    replace(model, replacements)
    return model


def fold_batch_norm_(model: nn.Module) -> nn.Module:
    r"""Folds each batch norm into the layer before it, in place, for evaluation.

    In evaluation batch norm is a multiplication and an addition per channel, which the weight and
    bias of a convolution, transposed convolution or linear layer can take over. The batch norm
    becomes :class:`torch.nn.Identity`, and a :class:`mpelu.nn.BatchNormMPELU1d`, ``2d`` or ``3d``
    becomes :class:`mpelu.MPELU` or :class:`mpelu.SPELU` with the parameters that it had. Outputs
    stay the same but for rounding; training afterwards is training without batch norm.

    What follows what is found as :func:`fuse_batch_norm_` does. A batch norm stays as it is where
    it has no running statistics, where the layer's output has another user, where one of the two
    is called at, or registered in, more than one place, has parameters that are used elsewhere,
    hooks or parametrizations or is a subclass, or after a transposed convolution with groups. After
    a linear layer only a norm of one dimension is folded; it is taken to normalise the features, as
    it does for inputs of two dimensions. A bias that is new learns where the weight does.

    Args:
        model: the model, in evaluation mode.

    Returns:
        nn.Module: ``model`` itself.

    Raises:
        ValueError: if the model, or a module in it, is in training mode.

    Example::

        >>> model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), mpelu.MPELU(16))
        >>> mpelu.convert.fold_batch_norm_(model.eval())
    """
    for name, module in model.named_modules():
        if module.training:
            raise ValueError(
                "fold_batch_norm_ needs a model in evaluation mode (call model.eval()); "
                f"{name or type(module).__name__!r} is in training mode"
            )
    followers, used_once = _sole_followers(model, modes=(False,))
    folded: dict[Any, tuple[Parameter, Parameter]] = {}
    replacements: dict[nn.Module, nn.Module] = {}
    for layer, norm in followers.items():
        foldable = type(layer) in _LAYERS and type(norm) in _NORMS and norm in used_once
        if foldable and is_plain(layer) and is_plain(norm) and _can_take(layer, norm):
            folded[layer] = _folded(layer, norm)
            replacements[norm] = _unnormalised(norm)
    for layer, (weight, bias) in folded.items():  # after all of them: an error changes nothing
        layer.weight, layer.bias = weight, bias
    replace(model, replacements)
    return model


def _sole_followers(
    model: nn.Module, modes: Iterable[bool]
) -> tuple[dict[nn.Module, nn.Module], set[nn.Module]]:
    """Modules used once with the one that alone takes their output; and all that are used once.

    A module counts as used once if it is in every mode: where it does not show in one, the part
    that calls it may not have been traced.
    """
    names = Counter(module for _, module in model.named_modules(remove_duplicate=False))
    names.update(held_elsewhere(model))
    uses: list[Counter[nn.Module]] = []
    followers: dict[nn.Module, set[nn.Module | None]] = defaultdict(set)
    for training in modes:
        calls = module_calls(model, training)
        uses.append(Counter(call.module for call in calls))
        for call in calls:
            followers[call.module].add(call.follower)
    used_once = {
        module for module in followers if {names[module], *(each[module] for each in uses)} == {1}
    }
    sole = {}
    for module in used_once:
        follower, *others = followers[module]
        if follower is not None and not others:
            sole[module] = follower
    return sole, used_once


def _has_activation(norm: Any) -> bool:
    """Whether this is timm's batch norm, with one of the activations that can be fused inside."""
    kind = getattr(sys.modules.get("timm.layers"), "BatchNormAct2d", None)
    return (
        type(norm) is kind
        and _can_be_fused(norm.act)
        and type(norm.drop) is nn.Identity
        and all(map(is_plain, norm.modules()))
    )


def _can_be_fused(activation: Any) -> bool:
    learned_by_channel = type(activation) in (MPELU, SPELU) and activation.dim == 1
    return learned_by_channel or type(activation) in _FIXED


def _fused(norm: Any, activation: Any, like: Tensor) -> nn.Module:
    if type(activation) in (MPELU, SPELU):
        initial, count = activation.initial, activation.num_parameters
        alpha, beta = activation.alpha, activation._parameters.get("beta")
    else:
        initial, count = {"alpha": getattr(activation, "alpha", 0.0)}, 1
        value = torch.full((1,), initial["alpha"], device=like.device, dtype=like.dtype)
        alpha, beta = Parameter(value, requires_grad=False), None
    kind = next(fused for kind, fused in _FUSED.items() if isinstance(norm, kind))
    fused = kind(
        norm.num_features,
        alpha=initial["alpha"],
        beta=initial.get("beta"),
        eps=norm.eps,
        momentum=norm.momentum,
        affine=norm.affine,
        track_running_stats=norm.track_running_stats,
        num_parameters=count,
        device="meta",  # every tensor is put in from outside
    )
    for name in ("weight", "bias"):
        fused.register_parameter(name, getattr(norm, name))
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        fused.register_buffer(name, getattr(norm, name))
    fused.register_parameter("alpha", alpha)
    fused.register_parameter("beta", beta)
    return fused


def _can_take(layer: Any, norm: Any) -> bool:
    """Whether a layer's weight can take over what a batch norm does in evaluation."""
    if norm.running_mean is None or norm.running_var is None:
        return False
    if isinstance(layer, nn.Linear):
        of_features = isinstance(norm, (nn.BatchNorm1d, BatchNormMPELU1d))
        return of_features and layer.out_features == norm.num_features
    return layer.out_channels == norm.num_features and not (
        isinstance(layer, TRANSPOSED) and layer.groups != 1
    )


def _folded(layer: Any, norm: Any) -> tuple[Parameter, Parameter]:
    """The weight and bias of a layer that does what it and its batch norm did."""
    weight, bias = fuse_conv_bn_weights(  # a linear layer's weight has no kernel: fine
        layer.weight,
        layer.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
        transpose=isinstance(layer, TRANSPOSED),
    )
    if layer.bias is None:
        bias.requires_grad_(weight.requires_grad)
    return weight, bias


def _unnormalised(norm: Any) -> nn.Module:
    """What is left of a batch norm that was folded away: its activation, if it has one."""
    if type(norm) in _FUSED:
        return nn.Identity()
    kind = SPELU if norm.beta is None else MPELU
    activation: nn.Module = kind(norm.alpha.numel(), **norm.initial, device="meta")
    activation.register_parameter("alpha", norm.alpha)
    if norm.beta is not None:
        activation.register_parameter("beta", norm.beta)
    return activation

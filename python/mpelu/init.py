r"""Taylor initialisation, for networks of exponential linear units.

The first-order Taylor expansion of ELU, SPELU and MPELU at 0 is a leaky ReLU with the slope
:math:`\alpha \beta`. What He et al. 2015 (arXiv:1502.01852) derive for that keeps the variance of
the signals from layer to layer:

.. math::
    \text{std} = \sqrt{\frac{2}{n \, (1 + \alpha^2 \beta^2)}}

Here n is the layer's fan-in (forward signals keep their variance), its fan-out (backward signals
do), or the mean of both. :math:`\alpha = 0` is the initialisation of He et al. for ReLU.
Source: Li et al. 2016 (arXiv:1606.00305).
"""

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn.parameter import is_lazy

from mpelu import _C, _validate
from mpelu._dataflow import TRANSPOSED, Layer, slopes_after_layers

__all__ = ["taylor_init_", "taylor_normal_", "taylor_uniform_"]

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_SWAPPED = {"fan_in": "fan_out", "fan_out": "fan_in"}


def taylor_normal_(
    tensor: Tensor,
    alpha: float = 1.0,
    beta: float = 1.0,
    mode: str = "fan_in",
    generator: Generator | None = None,
) -> Tensor:
    r"""Fills a weight, in place, with values from :math:`\mathcal{N}(0, \text{std}^2)`.

    .. math::
        \text{std} = \sqrt{\frac{2}{n \, (1 + \alpha^2 \beta^2)}}

    Source: Li et al. 2016 (arXiv:1606.00305).

    Args:
        tensor: a weight of shape (out_features, in_features) or (out_channels, in_channels /
            groups, ...kernel size). A transposed convolution's has its first two dimensions
            swapped: use "fan_out" on it for its fan-in.
        alpha: the alpha of the activation that follows; 0 for ReLU. Default: 1.0
        beta: the beta of the activation that follows. Default: 1.0
        mode: what n is: "fan_in", "fan_out" or "fan_avg" (their mean). Default: "fan_in"
        generator: the random generator to sample from. Default: torch's own

    Returns:
        Tensor: ``tensor`` itself.

    Raises:
        ValueError: if ``tensor`` is not floating point or has fewer than two dimensions,
            ``alpha``, ``beta`` or their product is not finite, or ``mode`` is another.

    Example::

        >>> w = torch.empty(16, 3, 3, 3)
        >>> mpelu.init.taylor_normal_(w, alpha=0.25, beta=1.0, mode="fan_out")
    """
    return _C.taylor_normal_(tensor, alpha, beta, mode, generator)


def taylor_uniform_(
    tensor: Tensor,
    alpha: float = 1.0,
    beta: float = 1.0,
    mode: str = "fan_in",
    generator: Generator | None = None,
) -> Tensor:
    r"""Fills a weight, in place, with values from :math:`\mathcal{U}(-\text{bound}, \text{bound})`.

    .. math::
        \text{bound} = \sqrt{3} \, \text{std}, \qquad
        \text{std} = \sqrt{\frac{2}{n \, (1 + \alpha^2 \beta^2)}}

    Source, arguments and the returned value are those of :func:`taylor_normal_`.

    Example::

        >>> w = torch.empty(10, 64)
        >>> mpelu.init.taylor_uniform_(w, alpha=1.0, beta=1.0)
    """
    return _C.taylor_uniform_(tensor, alpha, beta, mode, generator)


def taylor_init_(
    module: nn.Module,
    alpha: float | None = None,
    beta: float | None = None,
    mode: str = "fan_in",
    distribution: str = "normal",
    generator: Generator | None = None,
) -> nn.Module:
    r"""Initialises every convolution, transposed convolution and linear layer of a model, in place.

    Each weight gets the alpha and beta of the activation that follows its layer, where that is
    certain: the layer's output reaches one of ELU, SPELU, MPELU, torch's ELU, PReLU, LeakyReLU or
    ReLU (as modules or functions) by way of batch norm, dropout, pooling, flattening and identities
    alone, with no other user on the way. This is read off the model with :mod:`torch.fx`; where a
    part of the model does not trace, the parts inside it are looked at one by one. ReLU counts as
    alpha = 0 and a slope a of PReLU as alpha * beta = a. Of one alpha or beta per channel, the mean
    of alpha\ :sup:`2` beta\ :sup:`2` is taken.

    Every other layer (a last one, one before a residual addition) gets the arguments ``alpha`` and
    ``beta``; one that is not given is 1. Biases are set to 0. Weights on the meta device stay as
    they are. Arguments and weights are checked before the first one is filled.

    Args:
        module: the model, or one layer.
        alpha: for layers whose activation is not certain.
        beta: for layers whose activation is not certain.
        mode: "fan_in", "fan_out" or "fan_avg"; transposed convolutions' fans are the right way
            round, and each group of a convolution has fans of its own. Default: "fan_in"
        distribution: "normal" or "uniform". Default: "normal"
        generator: the random generator to sample from. Default: torch's own

    Returns:
        nn.Module: ``module`` itself.

    Raises:
        ValueError: if a layer's activation is not certain and neither ``alpha`` nor ``beta`` is
            given, or if a weight cannot be filled; it names the layers.

    Example::

        >>> model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), mpelu.MPELU(16))
        >>> mpelu.init.taylor_init_(model, mode="fan_out")
    """
    if distribution not in ("normal", "uniform"):
        raise ValueError(f"distribution must be 'normal' or 'uniform', got {distribution!r}")
    names = {layer: name or type(layer).__name__ for name, layer in module.named_modules()}
    slopes = {
        layer: slope
        for layer, slope in slopes_after_layers(module).items()
        if not _fillable_weight(layer, names[layer]).is_meta
    }
    for layer, slope in slopes.items():
        if slope is not None:
            _validate.finite(f"the slope of the activation after {names[layer]!r}", slope)
    fallback = _fallback(alpha, beta, [names[layer] for layer in slopes if slopes[layer] is None])

    with torch.no_grad():
        for layer, slope in slopes.items():
            slope = fallback if slope is None else slope
            fan = _SWAPPED.get(mode, mode) if isinstance(layer, TRANSPOSED) else mode
            groups = getattr(layer, "groups", 1)
            _C.fill_weight(layer.weight, slope, fan, distribution == "uniform", generator, groups)
            if layer.bias is not None:
                layer.bias.zero_()
    return module


def _fillable_weight(layer: Layer, name: str) -> Tensor:
    weight = layer._parameters.get("weight")
    if weight is None or is_lazy(weight) or weight.dtype not in _DTYPES or _is_expanded(weight):
        raise ValueError(
            f"the weight of layer {name!r} cannot be filled: it is no ordinary parameter in "
            "float64, float32, bfloat16 or float16 (but a parametrization's, an expanded one, or "
            "a lazy module's that has not seen an input)"
        )
    return weight


def _is_expanded(tensor: Tensor) -> bool:
    """Whether several elements are one in memory, which cannot be filled each with its own."""
    pairs = zip(tensor.size(), tensor.stride(), strict=True)
    return any(size > 1 and stride == 0 for size, stride in pairs)


def _fallback(alpha: float | None, beta: float | None, uncertain: list[str]) -> float:
    """alpha * beta for the layers whose activation is not certain."""
    if alpha is None and beta is None and uncertain:
        raise ValueError(
            f"cannot tell which activation follows {', '.join(map(repr, uncertain))}; "
            "give alpha and beta for layers like these"
        )
    factors = {"alpha": 1.0 if alpha is None else alpha, "beta": 1.0 if beta is None else beta}
    product = math.prod(_validate.finite(name, value) for name, value in factors.items())
    return _validate.finite("alpha * beta", product)

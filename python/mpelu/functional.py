r"""The activations as functions of tensors.

They work on the CPU and on CUDA, for any rank and strides, in float64, float32, bfloat16 and
float16. They are differentiable (to any order, and in forward mode) and work under
:mod:`torch.func`, :func:`torch.compile` and :func:`torch.export.export`. Compiled, they stay
operators, which on the CPU take less time than the formula does with the operations beside it fused
(``make bench-check``); on CUDA neither has been timed.
"""

import torch
from torch import Tensor

__all__ = ["batch_norm_mpelu", "elu", "mpelu", "spelu"]


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    r"""Exponential linear unit: ``x`` where x > 0, else ``alpha * expm1(x)``.

    Source: Clevert et al. 2016 (arXiv:1511.07289); Caffe's ELU layer. With ``alpha = 0`` this is
    exactly ReLU.

    Args:
        input: floating-point tensor of any shape.
        alpha: the value that the negative part saturates at, negated.
        inplace: overwrite ``input``; needs ``alpha >= 0``.

    Returns:
        Tensor: of the shape and dtype of ``input``; ``input`` itself if ``inplace``.

    Raises:
        RuntimeError: if ``input`` is of another dtype, or if ``inplace`` and ``alpha < 0``.
        TypeError: if ``alpha`` is a tensor.

    Example::

        >>> mpelu.functional.elu(torch.tensor([-1.0, 0.0, 2.0]))
        tensor([-0.6321,  0.0000,  2.0000])
    """
    if isinstance(alpha, Tensor):
        raise TypeError("elu: expected alpha to be a number, got a Tensor; spelu() learns one")
    output: Tensor = (
        torch.ops.mpelu.elu_(input, alpha) if inplace else torch.ops.mpelu.elu(input, alpha)
    )
    return output


def spelu(input: Tensor, alpha: Tensor, dim: int = 1) -> Tensor:
    r"""ELU with a learned ``alpha``, one for all or one per channel.

    The same as :func:`mpelu` with ``beta = 1``. Source: Li et al. 2016 (arXiv:1606.00305), where
    it is one half of the naive composition of MPELU.

    Args:
        input: floating-point tensor of any shape, with C channels in dimension ``dim``.
        alpha: of shape (), (1,) or (C,); of the dtype of ``input``, or float32 where that is
            bfloat16 or float16.
        dim: the channel dimension. A 1-d or 0-d input has its channels in dimension 0.

    Returns:
        Tensor: of the shape and dtype of ``input``.

    Raises:
        IndexError: if ``input`` has no dimension ``dim``.
        RuntimeError: if a parameter does not fit ``input`` in its shape, dtype or device.

    Example::

        >>> mpelu.functional.spelu(torch.tensor([[-1.0, -1.0]]), torch.tensor([0.5, 2.0]))
        tensor([[-0.3161, -1.2642]])
    """
    output: Tensor = torch.ops.mpelu.mpelu(input, alpha, None, dim)
    return output


def mpelu(input: Tensor, alpha: Tensor, beta: Tensor, dim: int = 1) -> Tensor:
    r"""Multiple parametric ELU: ``x`` where x > 0, else ``alpha_c * expm1(beta_c * x)``.

    Source: Li et al. 2016 (arXiv:1606.00305); Caffe's M2PELU layer, Torch7's nn.MPELU.

    Args:
        input: floating-point tensor of any shape, with C channels in dimension ``dim``.
        alpha: of shape (), (1,) or (C,); of the dtype of ``input``, or float32 where that is
            bfloat16 or float16.
        beta: as ``alpha``; the two may differ in shape.
        dim: the channel dimension. A 1-d or 0-d input has its channels in dimension 0.

    Returns:
        Tensor: of the shape and dtype of ``input``.

    Raises:
        IndexError: if ``input`` has no dimension ``dim``.
        RuntimeError: if a parameter does not fit ``input`` in its shape, dtype or device.

    Example::

        >>> alpha, beta = torch.tensor([0.5, 2.0]), torch.tensor([1.0])
        >>> mpelu.functional.mpelu(torch.tensor([[-1.0, -1.0]]), alpha, beta)
        tensor([[-0.3161, -1.2642]])
    """
    output: Tensor = torch.ops.mpelu.mpelu(input, alpha, beta, dim)
    return output


def batch_norm_mpelu(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    alpha: Tensor,
    beta: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    r"""Batch norm over dimension 1 and then :func:`mpelu`, as one operator.

    The same as ``mpelu(torch.nn.functional.batch_norm(...), alpha, beta)`` with less memory: of all
    tensors of the input's size it keeps the input alone for the backward, where the pair keeps the
    normalised one too.

    Args:
        input: floating-point tensor of shape (N, C, ...).
        running_mean: of shape (C,); moved towards the batch's mean in training. ``None`` in
            training: not tracked.
        running_var: of shape (C,), likewise.
        alpha: of shape (), (1,) or (C,).
        beta: likewise; ``None`` is SPELU, beta = 1.
        weight: of shape (C,), or ``None`` for 1.
        bias: of shape (C,), or ``None`` for 0.
        training: normalise by the batch's statistics instead of the running ones.
        momentum: how far the running statistics move, between 0 and 1.
        eps: added to the variance.

    All other tensors are of the dtype of ``input``, or float32 where that is bfloat16 or float16.

    Returns:
        Tensor: of the shape and dtype of ``input``.

    Raises:
        ValueError: if ``training`` and a channel has no more than one value, or if one of
            ``running_mean`` and ``running_var`` is ``None`` and the other is not.
        RuntimeError: if another tensor does not fit ``input`` in its shape, dtype or device.

    Example::

        >>> x, ones = torch.tensor([[-1.0], [1.0]]), torch.ones(1)
        >>> mpelu.functional.batch_norm_mpelu(x, None, None, ones, training=True)
        tensor([[-0.6321],
                [ 1.0000]])
    """
    if not training and running_mean is not None and running_var is not None:
        evaluated: Tensor = torch.ops.mpelu.batch_norm_mpelu_evaluation(
            input, weight, bias, running_mean, running_var, alpha, beta, eps
        )[0]
        return evaluated
    output: Tensor = torch.ops.mpelu.batch_norm_mpelu(
        input, weight, bias, running_mean, running_var, alpha, beta, training, momentum, eps
    )[0]
    return output

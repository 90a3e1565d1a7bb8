r"""The activations as modules: :class:`ELU`, :class:`SPELU` and :class:`MPELU`.

And :class:`BatchNormMPELU1d`, ``2d`` and ``3d``, a batch norm with the MPELU that follows it.
"""

from typing import SupportsIndex

import torch.fx
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.init import constant_
from torch.nn.modules.batchnorm import _NormBase

from mpelu import _validate
from mpelu import functional as F

__all__ = [
    "ELU",
    "MPELU",
    "SPELU",
    "BatchNormMPELU1d",
    "BatchNormMPELU2d",
    "BatchNormMPELU3d",
]


class ELU(Module):
    r"""Exponential linear unit with a fixed alpha.

    .. math::
        \text{ELU}(x) = \begin{cases}
            x & \text{if } x > 0 \\
            \alpha \, (e^x - 1) & \text{if } x \le 0
        \end{cases}

    Source: Clevert et al. 2016 (arXiv:1511.07289); Caffe's ELU layer. With ``alpha = 0`` this is
    exactly ReLU.

    Args:
        alpha: the value that the negative part saturates at, negated. Default: 1.0
        inplace: overwrite the input; needs ``alpha >= 0``. Default: ``False``

    Shape:
        - Input: any shape.
        - Output: the same shape.

    Example::

        >>> m = mpelu.ELU()
        >>> output = m(torch.randn(2))
    """

    alpha: float
    inplace: bool

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = _validate.finite("alpha", alpha)
        self.inplace = inplace
        if inplace and self.alpha < 0:
            raise ValueError(f"alpha must be >= 0 where inplace is True, got {alpha}")

    def forward(self, input: Tensor) -> Tensor:
        """Applies the activation."""
        return F.elu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """The settings that the module's representation shows."""
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


def _set_initial(module: Module, initial: dict[str, float]) -> None:
    """Sets the parameters that a module has: one may be computed from others, or not made yet."""
    for name, value in initial.items():
        if name in module._parameters:
            constant_(module.get_parameter(name), value)


class ParametricELU(Module):
    """Base of the activations with learned parameters, each of ``num_parameters`` elements.

    A subclass passes its parameters by name, with the value that each starts from.
    """

    num_parameters: int
    dim: int

    def __init__(
        self,
        num_parameters: SupportsIndex,
        dim: SupportsIndex,
        device: torch.types.Device,
        dtype: torch.dtype | None,
        **initial: float,
    ) -> None:
        super().__init__()
        self.num_parameters = _validate.positive_integer("num_parameters", num_parameters)
        self.dim = _validate.integer("dim", dim)
        self.initial = {name: _validate.finite(name, value) for name, value in initial.items()}
        for name in initial:
            value = torch.empty(self.num_parameters, device=device, dtype=dtype)
            self.register_parameter(name, Parameter(value))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the parameters to the values that the module was made with.

        One that is computed, by a parametrization or by pruning, stays as it is.
        """
        _set_initial(self, self.initial)

    def extra_repr(self) -> str:
        """The settings that the module's representation shows."""
        dim = "" if self.dim == 1 else f", dim={self.dim}"
        return f"num_parameters={self.num_parameters}{dim}"


class SPELU(ParametricELU):
    r"""ELU with a learned alpha, shared by all channels or one for each.

    .. math::
        \text{SPELU}(x) = \begin{cases}
            x & \text{if } x > 0 \\
            \alpha_c \, (e^x - 1) & \text{if } x \le 0
        \end{cases}

    Source: Li et al. 2016 (arXiv:1606.00305), where it is one half of the naive composition of
    MPELU. The same as :class:`MPELU` with a fixed ``beta = 1``.

    Args:
        num_parameters: 1 (shared by all channels) or the number of channels. Default: 1
        alpha: the value that alpha starts from. Default: 1.0
        dim: the channel dimension; a 1-d or 0-d input has its channels in dimension 0. Default: 1
        device: where the parameter lives.
        dtype: the parameter's dtype; float32 also serves bfloat16 and float16 inputs.

    Shape:
        - Input: any shape, with the channels in dimension ``dim``.
        - Output: the same shape.

    Attributes:
        alpha (Parameter): of shape (``num_parameters``,). Weight decay pulls it to 0, which is
            ReLU; see :func:`mpelu.optim.param_groups`.

    Example::

        >>> m = mpelu.SPELU(16)
        >>> output = m(torch.randn(8, 16, 32, 32))
    """

    alpha: Parameter

    def __init__(
        self,
        num_parameters: SupportsIndex = 1,
        alpha: float = 1.0,
        dim: SupportsIndex = 1,
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, dim, device, dtype, alpha=alpha)

    def forward(self, input: Tensor) -> Tensor:
        """Applies the activation."""
        return F.spelu(input, self.alpha, self.dim)


class MPELU(ParametricELU):
    r"""Multiple parametric ELU: alpha and beta are learned, shared by all channels or one for each.

    .. math::
        \text{MPELU}(x) = \begin{cases}
            x & \text{if } x > 0 \\
            \alpha_c \, (e^{\beta_c x} - 1) & \text{if } x \le 0
        \end{cases}

    It spans rectified and exponential units: alpha = 0 (with beta >= 0) is ReLU, alpha = beta = 1
    is ELU, and a small beta with a large alpha comes near to PReLU with the slope alpha * beta.
    Source: Li et al. 2016 (arXiv:1606.00305); Caffe's M2PELU layer, Torch7's nn.MPELU.

    Args:
        num_parameters: 1 (shared by all channels) or the number of channels. Default: 1
        alpha: the value that alpha starts from. Default: 1.0
        beta: the value that beta starts from. Default: 1.0
        dim: the channel dimension; a 1-d or 0-d input has its channels in dimension 0. Default: 1
        device: where the parameters live.
        dtype: the parameters' dtype; float32 also serves bfloat16 and float16 inputs.

    Shape:
        - Input: any shape, with the channels in dimension ``dim``.
        - Output: the same shape.

    Attributes:
        alpha (Parameter): of shape (``num_parameters``,).
        beta (Parameter): of shape (``num_parameters``,). For both, see
            :func:`mpelu.optim.param_groups` for the learning rate and weight decay.

    Example::

        >>> m = mpelu.MPELU(16, alpha=0.25)
        >>> output = m(torch.randn(8, 16, 32, 32))
    """

    alpha: Parameter
    beta: Parameter

    def __init__(
        self,
        num_parameters: SupportsIndex = 1,
        alpha: float = 1.0,
        beta: float = 1.0,
        dim: SupportsIndex = 1,
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, dim, device, dtype, alpha=alpha, beta=beta)

    def forward(self, input: Tensor) -> Tensor:
        """Applies the activation."""
        return F.mpelu(input, self.alpha, self.beta, self.dim)


@torch.fx.wrap
def _normalise_and_activate(module: "BatchNormMPELU", input: Tensor) -> Tensor:
    """The forward of a module.

    To torch.fx this is one function of the module, as torch's own batch norms are one module: a
    traced model, too, is in the mode that ``train()`` and ``eval()`` put it in.
    """
    return module._forward(input)


class BatchNormMPELU(_NormBase):
    """Base of the batch norms with an activation; a subclass checks the rank of its input.

    It is none of torch's own batch norms, on purpose: ``convert_sync_batchnorm`` would replace
    those and lose the activation. :func:`torch.optim.swa_utils.update_bn` and
    :func:`torch.func.replace_all_batch_norm_modules_` pass over it for the same reason.
    """

    alpha: Parameter
    beta: Parameter | None

    def __init__(
        self,
        num_features: SupportsIndex,
        alpha: float = 1.0,
        beta: float | None = 1.0,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        num_parameters: SupportsIndex | None = None,
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        channels = _validate.positive_integer("num_features", num_features)
        count = channels if num_parameters is None else num_parameters
        self.num_parameters = _validate.positive_integer("num_parameters", count)
        if self.num_parameters not in (1, channels):
            raise ValueError(
                f"num_parameters must be 1 or num_features ({channels}), got {num_parameters}"
            )
        self.initial = {"alpha": _validate.finite("alpha", alpha)}
        if beta is not None:
            self.initial["beta"] = _validate.finite("beta", beta)
        super().__init__(channels, eps, momentum, affine, track_running_stats, device, dtype)
        for name in ("alpha", "beta"):
            value = torch.empty(self.num_parameters, device=device, dtype=dtype)
            self.register_parameter(name, Parameter(value) if name in self.initial else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Resets the batch norm, and sets alpha and beta to their first values.

        One that is computed, by a parametrization or by pruning, stays as it is.
        """
        super().reset_parameters()
        _set_initial(self, self.initial)

    def forward(self, input: Tensor) -> Tensor:
        """Normalises and applies the activation."""
        # TorchScript compiles a module's methods, but no function that takes a module.
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            return self._forward(input)
        return _normalise_and_activate(self, input)

    def _check_input_dim(self, input: Tensor) -> None:
        raise NotImplementedError

    def _forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        momentum = self._begin_batch() if self.training else 0.0
        running_mean, running_var = self.running_mean, self.running_var
        uses_running = not self.training or self.track_running_stats
        return F.batch_norm_mpelu(
            input,
            running_mean if uses_running else None,
            running_var if uses_running else None,
            self.alpha,
            self.beta,
            self.weight,
            self.bias,
            self.training or (running_mean is None and running_var is None),
            momentum,
            self.eps,
        )

    def _begin_batch(self) -> float:
        """Counts a batch of training. Returns how far it moves the running statistics."""
        batches = self.num_batches_tracked
        if self.track_running_stats and batches is not None:
            batches.add_(1)
            if self.momentum is None:  # the average of all batches so far
                return 1.0 / float(batches)
        return 0.0 if self.momentum is None else self.momentum

    def extra_repr(self) -> str:
        """The settings that the module's representation shows."""
        spelu = ", beta=None" if self.beta is None else ""
        shared = ", num_parameters=1" if self.num_parameters != self.num_features else ""
        settings: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return settings + spelu + shared


class BatchNormMPELU1d(BatchNormMPELU):
    r"""Batch norm and the :class:`MPELU` that follows it, in one: of an input (N, C) or (N, C, L).

    Computes what ``torch.nn.BatchNorm1d(num_features)`` and then ``MPELU(num_features)`` would, for
    any sign of weight, alpha and beta, and keeps one tensor of the input's size less for the
    backward: the normalised one is computed anew.

    Statistics are those of the process's own batch. Under distributed training with synchronised
    statistics use :class:`torch.nn.SyncBatchNorm` and :class:`MPELU`:
    ``convert_sync_batchnorm`` leaves this module as it is.

    Args:
        num_features: C, the number of channels.
        alpha: the value that alpha starts from. Default: 1.0
        beta: the value that beta starts from; ``None`` for SPELU, without a beta. Default: 1.0
        eps: added to the variance. Default: 1e-5
        momentum: of the running statistics; ``None`` for the average of all batches. Default: 0.1
        affine: learn a weight and a bias. Default: ``True``
        track_running_stats: keep running statistics for evaluation. Default: ``True``
        num_parameters: the number of alphas and betas, 1 (shared by all channels) or C. Default: C
        device: where the parameters live.
        dtype: their dtype; float32 also serves bfloat16 and float16 inputs.

    Shape:
        - Input: (N, C) or (N, C, L).
        - Output: the same shape.

    Attributes:
        weight, bias, running_mean, running_var, num_batches_tracked: as in
            :class:`torch.nn.BatchNorm1d`, under the same names in the state dict.
        alpha (Parameter): of shape (``num_parameters``,).
        beta (Parameter): likewise, or ``None``.

    Example::

        >>> m = mpelu.nn.BatchNormMPELU1d(16, alpha=0.25)
        >>> output = m(torch.randn(8, 16))
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 3):
            raise ValueError(f"expected 2D or 3D input (got {input.dim()}D input)")


class BatchNormMPELU2d(BatchNormMPELU):
    r"""Batch norm and the :class:`MPELU` that follows it, in one: of an input (N, C, H, W).

    The arguments and attributes are those of :class:`BatchNormMPELU1d`.

    Example::

        >>> m = mpelu.nn.BatchNormMPELU2d(16)
        >>> output = m(torch.randn(8, 16, 32, 32))
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() != 4:
            raise ValueError(f"expected 4D input (got {input.dim()}D input)")


class BatchNormMPELU3d(BatchNormMPELU):
    r"""Batch norm and the :class:`MPELU` that follows it, in one: of an input (N, C, D, H, W).

    The arguments and attributes are those of :class:`BatchNormMPELU1d`.

    Example::

        >>> m = mpelu.nn.BatchNormMPELU3d(16)
        >>> output = m(torch.randn(2, 16, 4, 8, 8))
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() != 5:
            raise ValueError(f"expected 5D input (got {input.dim()}D input)")

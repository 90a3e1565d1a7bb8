"""Stand-in for mpelu.nn.BatchNormMPELU1d/2d/3d, to be removed when these are there."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from mpelu import functional as F


class _BatchNormMPELU(nn.modules.batchnorm._BatchNorm):
    def __init__(
        self,
        num_features: int,
        alpha: float = 1.0,
        beta: float | None = 1.0,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        num_parameters: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)
        count = num_features if num_parameters is None else num_parameters
        self.alpha = Parameter(torch.full((count,), alpha, device=device, dtype=dtype))
        self.register_parameter(
            "beta",
            None if beta is None else Parameter(torch.full((count,), beta, device=device)),
        )

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        normalised = super().forward(input)
        beta: Any = self.beta
        if beta is None:
            return F.spelu(normalised, self.alpha)
        return F.mpelu(normalised, self.alpha, beta)


class BatchNormMPELU1d(_BatchNormMPELU):
    pass


class BatchNormMPELU2d(_BatchNormMPELU):
    pass


class BatchNormMPELU3d(_BatchNormMPELU):
    pass

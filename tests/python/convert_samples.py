"""Models for the tests of mpelu.convert, with values that no constructor gives."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import pytest
import timm
import torch
import torchvision
from torch import nn

import mpelu
from mpelu.convert import fuse_batch_norm_
from mpelu.nn import BatchNormMPELU1d, BatchNormMPELU2d, BatchNormMPELU3d

FUSED = (BatchNormMPELU1d, BatchNormMPELU2d, BatchNormMPELU3d)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def randomise(model: nn.Module) -> nn.Module:
    """Batch norms and activations as training leaves them: no value is where it started."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):  # with an activation too
                if module.running_mean is not None:
                    module.running_mean.normal_(std=0.1)
                    module.running_var.uniform_(0.5, 1.5)
                    module.num_batches_tracked.fill_(7)
                for parameter in module.parameters():
                    parameter.uniform_(0.5, 1.5)
            elif isinstance(module, (mpelu.SPELU, mpelu.MPELU)):
                for parameter in module.parameters():
                    parameter.uniform_(0.1, 1.5)
    return model


def count(model: nn.Module, *types: type[nn.Module]) -> int:
    return sum(type(module) in types for module in model.modules())


def sites(model: nn.Module) -> dict[str, tuple[int, int]]:
    """The number of parameters and the channel dimension of each activation."""
    return {
        name: (module.num_parameters, module.dim)
        for name, module in model.named_modules()
        if isinstance(module, (mpelu.MPELU, mpelu.SPELU))
    }


def images(size: int = 32, channels: int = 3, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(2, channels, size, size, dtype=dtype)


class Sample(NamedTuple):
    """A model, its images' size, how many pairs can be fused, how many norms cannot be folded."""

    make: Callable[[], nn.Module]
    size: int
    pairs: int
    unfoldable: int


def _unfused(activation: str) -> nn.Module:
    return mpelu.models.mpelu_resnet(20, 10, activation=activation, fused=False)


MODELS = {
    "resnet18": Sample(torchvision.models.resnet18, 40, 9, 0),
    "resnet50": Sample(torchvision.models.resnet50, 40, 33, 0),
    "timm": Sample(lambda: timm.create_model("test_resnet"), 40, 8, 0),
    "timm, activations in the norms": Sample(lambda: timm.create_model("test_byobnet"), 40, 6, 0),
    "mpelu": Sample(lambda: _unfused("mpelu"), 16, 14, 1),
    "spelu": Sample(lambda: _unfused("spelu"), 16, 14, 1),
    "elu": Sample(lambda: _unfused("elu"), 16, 14, 1),
    "relu": Sample(lambda: _unfused("relu"), 16, 14, 1),
    "prelu": Sample(lambda: _unfused("prelu"), 16, 0, 1),
}
every_model = pytest.mark.parametrize("name", MODELS)


def pair(activation: nn.Module | None = None, norm: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 1), norm or nn.BatchNorm2d(4), activation or mpelu.MPELU(4)
    )


class Model(nn.Module):
    """A forward of its own around a batch norm and an activation."""

    def __init__(self, forward, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.conv, self.norm, self.other = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.activation = activation or mpelu.MPELU(4, alpha=0.5)
        self.run = forward

    def forward(self, input):
        return self.run(self, self.conv(input))


class Untraceable(nn.Module):
    """A forward that depends on the data, around a Sequential that does not."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.body = pair(activation)

    def forward(self, input):
        return self.body(input) if input.sum() > 0 else self.body(-input)


def unfused(model: nn.Module) -> bool:
    """Whether fuse_batch_norm_ leaves a model as it is, in its parts and in its output."""
    input, parts = images(4), list(model.modules())
    with torch.no_grad():
        expected = copy.deepcopy(model)(input)
        return list(fuse_batch_norm_(model).modules()) == parts and torch.equal(
            model(input), expected
        )

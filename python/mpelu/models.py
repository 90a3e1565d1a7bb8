r"""The residual network of the MPELU paper, with MPELU or another activation.

Source: Li et al. 2016 (arXiv:1606.00305), the "MPELU-nopre" network for CIFAR: a bottleneck
residual network (He et al. 2016, arXiv:1603.05027) without an activation before each block.
"""

from collections.abc import Callable, Iterator
from typing import Any, SupportsIndex

import torch
from torch import Tensor, nn

from mpelu import _validate, init
from mpelu._dataflow import negative_slope
from mpelu.convert import fuse_batch_norm_
from mpelu.nn import ELU, MPELU, SPELU, BatchNormMPELU, ParametricELU

__all__ = ["Bottleneck", "MPELUResNet", "mpelu_resnet"]

# From the number of channels and the starting alpha and beta to the activation.
_ACTIVATIONS: dict[str, Callable[[int, float, float], nn.Module]] = {
    "mpelu": lambda channels, alpha, beta: MPELU(channels, alpha, beta),
    "spelu": lambda channels, alpha, beta: SPELU(channels, alpha),
    "elu": lambda channels, alpha, beta: ELU(),
    "prelu": lambda channels, alpha, beta: nn.PReLU(channels),
    "relu": lambda channels, alpha, beta: nn.ReLU(inplace=True),
}
_LEARNED = ("mpelu", "spelu")


def _conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    padding = kernel_size // 2
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)


class Bottleneck(nn.Module):
    """Residual block: conv1x1 - BN - act - conv3x3 - BN - act - conv1x1, plus the shortcut.

    There is no activation before the block or after the addition. The shortcut is a convolution
    where the width changes, and the identity otherwise.

    Args:
        in_channels: channels of the input.
        width: channels inside the block; it puts out ``width * Bottleneck.expansion``.
        stride: of the first convolution and of the shortcut's.
        activation: makes an activation for a number of channels.

    Shape:
        - Input: (N, in_channels, H, W)
        - Output: (N, 4 * width, ceil(H / stride), ceil(W / stride))
    """

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, stride: int, activation: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.residual = nn.Sequential(
            _conv(in_channels, width, 1, stride),
            nn.BatchNorm2d(width),
            activation(width),
            _conv(width, width, 3),
            nn.BatchNorm2d(width),
            activation(width),
            _conv(width, out_channels, 1),
        )
        self.shortcut = (
            nn.Identity()
            if in_channels == out_channels and stride == 1
            else _conv(in_channels, out_channels, 1, stride)
        )

    def forward(self, input: Tensor) -> Tensor:
        """Adds the residual to the shortcut."""
        output: Tensor = self.residual(input) + self.shortcut(input)
        return output


class MPELUResNet(nn.Module):
    """Bottleneck residual network for small images; made by :func:`mpelu_resnet`.

    Its state dict has the names of its modules: alpha and beta are with the batch norm where
    :func:`mpelu.convert.fuse_batch_norm_` fused the two, and one place after it where not.
    ``load_state_dict`` takes either, so that checkpoints go both ways.

    Args:
        blocks: number of blocks in each of the three stages.
        num_classes: number of outputs.
        in_channels: channels of the images.
        activation: makes an activation for a number of channels.

    Shape:
        - Input: (N, in_channels, H, W)
        - Output: (N, num_classes)
    """

    def __init__(
        self,
        blocks: int,
        num_classes: int,
        in_channels: int,
        activation: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(in_channels, 16, 3), nn.BatchNorm2d(16), activation(16))
        channels = 16
        self.stages = nn.Sequential()
        for width, stride in ((16, 1), (32, 2), (64, 2)):
            stage = nn.Sequential()
            for block in range(blocks):
                stage.append(Bottleneck(channels, width, stride if block == 0 else 1, activation))
                channels = width * Bottleneck.expansion
            self.stages.append(stage)
        self.tail = nn.Sequential(
            nn.BatchNorm2d(channels), activation(channels), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.classifier = nn.Linear(channels, num_classes)
        with torch.device("cpu"):  # its values are read, also where the model is made on "meta"
            slope = negative_slope(activation(1))
        if slope is None:
            raise ValueError("activation must make one that the Taylor initialisation knows")
        self._initialise(slope)

    def _initialise(self, slope: float) -> None:
        """Taylor initialisation of the convolutions, by fan-out; the linear layer's bias is 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init.taylor_normal_(module.weight, alpha=slope, mode="fan_out")
        nn.init.zeros_(self.classifier.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Class scores of a batch of images."""
        features = self.tail(self.stages(self.stem(input)))
        scores: Tensor = self.classifier(features)
        return scores

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Gives alpha and beta the names that they have here, before this network's parts load."""
        for name, others in _names_in_other_forms(self, prefix):
            for other in others:
                if name not in state_dict and other in state_dict:
                    state_dict[name] = state_dict.pop(other)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _names_in_other_forms(model: nn.Module, prefix: str) -> Iterator[tuple[str, list[str]]]:
    """The names of every alpha and beta: in this network, and in the same one of other forms.

    In a sequence alpha and beta are those of the fused module; of the activation in the next place,
    as a pair has them; or of an activation in the fused one's place, once that is folded.
    """
    for path, sequence in model.named_modules(prefix=prefix.removesuffix(".")):
        if not isinstance(sequence, nn.Sequential):
            continue
        for place, module in enumerate(sequence):
            if isinstance(module, (ParametricELU, BatchNormMPELU)):
                others = (
                    [place + 1] if isinstance(module, BatchNormMPELU) else [place - 1, place + 1]
                )
                for name in module.initial:
                    yield f"{path}.{place}.{name}", [f"{path}.{other}.{name}" for other in others]


def _blocks_per_stage(depth: SupportsIndex) -> int:
    """n of depth = 9n + 2: three stages of n blocks of three convolutions, the stem, the end."""
    layers = _validate.integer("depth", depth)
    blocks, rest = divmod(layers - 2, 9)
    if blocks >= 1 and rest == 0:
        return blocks
    nearest = [9 * n + 2 for n in (blocks, blocks + 1) if n >= 1] or [11]
    raise ValueError(
        f"depth must be 9n + 2, got {layers}; nearest: {' and '.join(map(str, nearest))}"
    )


def mpelu_resnet(
    depth: SupportsIndex,
    num_classes: SupportsIndex,
    in_channels: SupportsIndex = 3,
    activation: str = "mpelu",
    alpha: float = 0.25,
    beta: float = 1.0,
    fused: bool = True,
) -> MPELUResNet:
    """The MPELU-nopre bottleneck network of Li et al. 2016 (arXiv:1606.00305).

    Three stages of n = (depth - 2) / 9 blocks, of widths 16, 32 and 64 times 4, between a stem
    (conv3x3 - BN - activation) and a tail (BN - activation - average pool - linear). Convolutions
    have no bias and start from the Taylor initialisation by fan-out, with the alpha and beta that
    the activation starts from; the linear layer's bias starts at 0. It has 1,696,250 parameters at
    depth 164 and 10.28 million at depth 1001, for 10 classes and 3 channels.

    Args:
        depth: number of layers with weights, 9n + 2: 11, 20, 29, ..., 164, ..., 1001.
        num_classes: number of outputs.
        in_channels: channels of the images. Default: 3
        activation: "mpelu" or "spelu", one alpha (and beta) per channel; or a baseline that
            ``alpha`` and ``beta`` have no part in: "elu" (alpha = 1), "prelu" (one slope per
            channel, from 0.25), "relu". Default: "mpelu"
        alpha: what alpha starts from. Default: 0.25
        beta: what beta starts from. Default: 1.0
        fused: each batch norm and the MPELU or SPELU after it are one
            :class:`mpelu.nn.BatchNormMPELU2d`, which keeps less for the backward; ``False`` gives
            the pair, as :meth:`torch.nn.SyncBatchNorm.convert_sync_batchnorm` needs it. Both start
            from the same values, compute the same and load each other's state dicts. The baselines
            have no MPELU to fuse and are pairs either way. Default: ``True``

    Shape:
        - Input: (N, in_channels, H, W), with H and W at least 4.
        - Output: (N, num_classes)

    Raises:
        ValueError: if ``depth`` is not 9n + 2, or there is no such ``activation``.

    Example::

        >>> model = mpelu.models.mpelu_resnet(20, num_classes=10)
        >>> scores = model(torch.randn(8, 3, 32, 32))
    """
    if activation not in _ACTIVATIONS:
        names = ", ".join(map(repr, _ACTIVATIONS))
        raise ValueError(f"activation must be one of {names}, got {activation!r}")
    make = _ACTIVATIONS[activation]
    model = MPELUResNet(
        _blocks_per_stage(depth),
        _validate.positive_integer("num_classes", num_classes),
        _validate.positive_integer("in_channels", in_channels),
        lambda channels: make(channels, alpha, beta),
    )
    if fused and activation in _LEARNED:
        fuse_batch_norm_(model)
    return model

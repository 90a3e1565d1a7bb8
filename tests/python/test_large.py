"""Large tensors: outputs that are written past the caches, and long sums."""

from __future__ import annotations

import pytest
import torch
from tolerances import assert_same_bits
from torch import Tensor

ops = torch.ops.mpelu

# 16 MiB and more of float32 (of bfloat16, too, in the last two), in rows and columns that no vector
# divides, but for the whole packs and lines; the 64 channels' rows are half a page apart. On a GPU
# there are four times as many images, for the kernels of which a thread takes many rows.
SHAPES = {
    "rows": ((64, 64, 32, 33), torch.contiguous_format),
    "columns": ((64, 1343, 7, 7), torch.contiguous_format),
    "channels last": ((33, 67, 44, 45), torch.channels_last),
    "64 channels last": ((33, 64, 45, 47), torch.channels_last),
    "whole packs": ((64, 64, 32, 32), torch.contiguous_format),
    "many channels": ((2100, 4099), torch.contiguous_format),
    "whole lines": ((4200, 2048), torch.contiguous_format),
}


def make_input(name: str, dtype: torch.dtype, device: torch.device, seed: int) -> Tensor:
    (images, *sizes), memory_format = SHAPES[name]
    shape = (images * (4 if device.type == "cuda" else 1), *sizes)
    generator = torch.Generator(device).manual_seed(seed)
    values = torch.randn(shape, generator=generator, device=device).to(dtype)
    return values.contiguous(memory_format=memory_format)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_large_tensor_equals_its_parts(
    name: str, dtype: torch.dtype, device: torch.device
) -> None:
    x, grad_output = (make_input(name, dtype, device, seed) for seed in (0, 1))
    alpha = torch.linspace(0.25, 1.5, x.size(1), dtype=dtype, device=device)
    beta = torch.linspace(1.5, -0.25, x.size(1), dtype=dtype, device=device)
    y = ops.mpelu(x, alpha, beta)
    grad = ops.mpelu_backward(grad_output, x, alpha, beta)[0]
    elu = ops.elu_backward(grad_output, x, 0.7, False)
    for image in range(0, x.size(0), x.size(0) // 9):
        part, grad_part = x[image : image + 1], grad_output[image : image + 1]
        assert_same_bits(y[image : image + 1], ops.mpelu(part, alpha, beta), "output")
        expected = ops.mpelu_backward(grad_part, part, alpha, beta)[0]
        assert_same_bits(grad[image : image + 1], expected, "grad_input")
        expected = ops.elu_backward(grad_part, part, 0.7, False)
        assert_same_bits(elu[image : image + 1], expected, "elu's grad_input")


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_sums_of_a_large_tensor_are_those_of_its_parts(
    name: str, dtype: torch.dtype, device: torch.device
) -> None:
    x, grad_output = (make_input(name, dtype, device, seed) for seed in (0, 1))
    # No two neighbours alike, so that no channel could be taken for another.
    alpha = 0.25 + torch.arange(x.size(1), device=device) % 5
    beta = 1.5 - torch.arange(x.size(1), device=device) % 3 / 2
    sums = ops.mpelu_backward(grad_output, x, alpha, beta)[1:]
    exact = [torch.zeros(x.size(1), dtype=torch.float64, device=device) for _ in sums]
    for part, grad_part in zip(x.split(50), grad_output.split(50), strict=True):
        doubles = (tensor.double() for tensor in (grad_part, part, alpha, beta))
        for total, term in zip(exact, ops.mpelu_backward(*doubles)[1:], strict=True):
            total += term
    for got, total in zip(sums, exact, strict=True):
        torch.testing.assert_close(got.double(), total, rtol=1e-5, atol=1e-6 * x[:, 0].numel())


@pytest.mark.parametrize("channels", [1, 10])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_long_sums_are_good_to_a_millionth(
    channels: int, memory_format: torch.memory_format, device: torch.device
) -> None:
    """Over 10 million elements on the CPU, over 100 million on a GPU."""
    images = 10 if device.type == "cpu" else 100
    generator = torch.Generator(device).manual_seed(0)
    shape = (images, channels, 1000, 1000 // channels)
    x = torch.randn(shape, generator=generator, device=device).contiguous(
        memory_format=memory_format
    )
    grad_output = torch.rand(shape, generator=generator, device=device)
    alpha, beta = (torch.full((channels,), value, device=device) for value in (0.8, 1.2))
    _, grad_alpha, grad_beta = ops.mpelu_backward(grad_output, x, alpha, beta)

    lower = x.double().clamp(max=0)
    weighted = grad_output.double() * (x <= 0)
    exponent = lower * beta.double().view(1, -1, 1, 1)
    dims = (0, 2, 3)
    torch.testing.assert_close(
        grad_alpha.double(), (weighted * exponent.expm1()).sum(dims), rtol=1e-6, atol=0.0
    )
    torch.testing.assert_close(
        grad_beta.double(),
        (weighted * lower * exponent.exp()).sum(dims) * alpha.double(),
        rtol=1e-6,
        atol=0.0,
    )

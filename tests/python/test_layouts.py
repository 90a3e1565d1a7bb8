"""Strides of the outputs, and the memory that in-place ops leave alone."""

from __future__ import annotations

import pytest
import torch
from samples import LAYOUTS, LEADING_SIZES, WRITABLE_LAYOUTS, make_values
from tolerances import assert_same_bits
from torch import Tensor

ops = torch.ops.mpelu


def inputs(device: torch.device | str) -> dict[str, Tensor]:
    """One of each layout and rank of the sample table, and stranger ones."""

    def values(*shape: int) -> Tensor:
        return make_values(shape, torch.float32).to(device)

    def channels_last(*shape: int) -> Tensor:
        return values(*shape).contiguous(memory_format=torch.channels_last)

    table = {
        f"{name} {rank}-d": layout.arrange(values(*LEADING_SIZES[rank], 5))
        for name, layout in LAYOUTS.items()
        for rank in layout.ranks
    }
    return table | {
        "permuted 3-d": values(4, 2, 3).permute(1, 2, 0),
        "permuted 4-d": values(2, 5, 3, 4).permute(2, 0, 3, 1),
        "one channel, channels last": channels_last(2, 1, 3, 4),
        "one image, channels last": channels_last(1, 3, 4, 5),
        "one pixel": values(2, 3, 1, 1),
        "one pixel, channels last": channels_last(2, 3, 1, 1),
        "every second row": values(6, 3, 5)[::2],
        "channels of a bigger tensor": values(2, 7, 3, 4)[:, 1:6],
        "channels of a bigger channels-last tensor": channels_last(2, 7, 3, 4)[:, 1:6],
        "expanded channels": values(2, 1, 5).expand(2, 3, 5),
        "expanded scalar": values().expand(2, 3, 5),
        "expanded and transposed": values(2, 1, 5).expand(2, 3, 5).mT,
        "overlapping": values(9).as_strided((3, 4), (2, 1)),
        "no elements": values(2, 0, 4, 3).permute(0, 2, 3, 1),
        "scalar": values(),
    }


@pytest.mark.parametrize("name", inputs("cpu"))
def test_outputs_have_the_strides_of_prelu(device: torch.device, name: str) -> None:
    x = inputs(device)[name]
    strides = torch.nn.functional.prelu(x, x.new_ones(1)).stride()
    channels = x.shape[1] if x.dim() > 1 else x.numel()
    assert ops.elu(x, 0.5).stride() == strides
    assert ops.mpelu(x, x.new_ones(()), x.new_ones(1)).stride() == strides
    assert ops.mpelu(x, x.new_ones(channels), x.new_ones(channels)).stride() == strides


@pytest.mark.parametrize("name", inputs("cpu"))
def test_layout_does_not_change_the_numbers(device: torch.device, name: str) -> None:
    """To the bit: an element's result does not depend on its place in a vector."""
    x = inputs(device)[name]
    dense = x.clone(memory_format=torch.contiguous_format)
    grad_output = make_values(x.shape, x.dtype, seed=1).to(device)
    assert_same_bits(ops.elu(x, 0.5), ops.elu(dense, 0.5))
    for dim in range(max(x.dim(), 1)):
        channels = x.shape[dim] if x.dim() else 1
        alpha = torch.linspace(0.5, 2, channels, device=device)
        beta = torch.linspace(2, 0.5, channels, device=device)
        assert_same_bits(ops.mpelu(x, alpha, beta, dim), ops.mpelu(dense, alpha, beta, dim))
        grad_input, _, _ = ops.mpelu_backward(grad_output, x, alpha, beta, dim)
        expected, _, _ = ops.mpelu_backward(grad_output, dense, alpha, beta, dim)
        assert_same_bits(grad_input, expected)


@pytest.mark.parametrize("layout", WRITABLE_LAYOUTS)
def test_in_place_writes_its_own_elements_alone(device: torch.device, layout: str) -> None:
    rank = LAYOUTS[layout].ranks[-1]
    for size in (1, 5, 64, 67):
        values = make_values((*LEADING_SIZES[rank], size), torch.float32).to(device)
        alpha = torch.tensor([0.5, 1.0, 2.0], device=device)
        for op in (lambda x: ops.elu_(x, 0.5), lambda x, alpha=alpha: ops.mpelu_(x, alpha)):
            view = LAYOUTS[layout].arrange(values.clone())
            base = view if view._base is None else view._base
            expected = base.clone()
            torch.as_strided(expected, view.shape, view.stride(), view.storage_offset()).copy_(
                op(view.clone())
            )
            op(view)
            assert_same_bits(base, expected, f"{layout}, {size=}")

"""Exported programs for what does not know the operators."""

from collections.abc import Callable
from typing import Any

import torch

from mpelu import _C

__all__ = ["decompositions"]


def decompositions() -> dict[torch._ops.OpOverload, Callable[..., Any]]:
    r"""The operators in terms of PyTorch's own.

    For :meth:`torch.export.ExportedProgram.run_decompositions`, after which a program has no
    operator of this library left, as ONNX and runtimes that load no operators need it. It computes
    the same, up to rounding, but is slower than the kernels. Batch norms with an activation have to
    be in evaluation.

    Returns:
        dict: for each operator that writes nothing a function that computes it.

    Example::

        >>> model = mpelu.models.mpelu_resnet(20, num_classes=10).eval()
        >>> program = torch.export.export(model, (torch.randn(1, 3, 32, 32),))
        >>> program = program.run_decompositions(mpelu.export.decompositions())
        >>> torch.onnx.export(program).save("mpelu.onnx")  # doctest: +SKIP
    """
    return {
        getattr(torch.ops.mpelu, name).default: function
        for name, function in vars(_C.formula).items()
        if not name.startswith("_")
    }

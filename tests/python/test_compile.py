"""opcheck, torch.compile, torch.export, AOTInductor and compiled autograd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from samples import make_values
from tolerances import SAME_IN_FLOAT32, assert_same_bits
from torch import Tensor

import mpelu

ops = torch.ops.mpelu
OPS = ("elu", "elu_", "elu_backward", "mpelu", "mpelu_", "mpelu_backward")


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def tensors(device: torch.device, *shape: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Input, alpha and beta, each requiring a gradient."""
    x = make_values(shape or (4, 3, 5), dtype).to(device)
    alpha = torch.tensor([0.5, -1.5, 2.0], dtype=dtype, device=device)
    beta = torch.tensor([1.5, 0.5, 0.25], dtype=dtype, device=device)
    return [tensor.requires_grad_() for tensor in (x, alpha, beta)]


def without_grad(*arguments: Tensor) -> list[Tensor]:
    return [argument.detach().clone() for argument in arguments]


def opcheck_samples(op: str, device: torch.device) -> Iterator[tuple[tuple, dict]]:
    """Positional and keyword arguments; kinds of parameters take turns over kinds of inputs."""
    x, alpha, beta = tensors(device)
    images = make_values((2, 3, 4, 5), torch.float32).to(device)
    half = make_values((4, 3, 5), torch.bfloat16).to(device)
    inputs = [
        x,
        images.contiguous(memory_format=torch.channels_last).requires_grad_(),
        half.requires_grad_(),
        x.mT,
        x.detach()[0, 0, 0].clone().requires_grad_(),
        torch.empty(2, 3, 0, device=device, requires_grad=True),
        x.detach(),
    ]
    if not op.endswith("_"):
        inputs.append(x[:1].expand(4, 3, 5))
    for turn, input in enumerate(inputs):
        grad_output = (torch.ones_like(input),) if op.endswith("backward") else ()
        if op.startswith("elu"):
            keywords = {"is_result": turn % 2 == 1} if op == "elu_backward" else {}
            yield (*grad_output, input * 1 if op == "elu_" else input, 0.5), keywords
            continue
        per_channel = (alpha, beta) if input.dim() else (alpha[:1], beta[0])
        parameters = (per_channel, (alpha[0], beta[:1]), per_channel[:1])[turn % 3]
        arguments = (*grad_output, input, *parameters)
        dim = input.shape.index(3) if input.dim() else 0
        yield tuple(without_grad(*arguments) if op == "mpelu_" else arguments), {"dim": dim}


@pytest.mark.parametrize("op", OPS)
def test_opcheck(device: torch.device, op: str) -> None:
    for arguments, keywords in opcheck_samples(op, device):
        torch.library.opcheck(getattr(ops, op).default, arguments, keywords)


FUNCTIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "elu": lambda x, alpha, beta: ops.elu(x * 2, 0.5) + 1,
    "elu_": lambda x, alpha, beta: ops.elu_(x * 2, 0.5) + 1,
    "spelu": lambda x, alpha, beta: ops.mpelu(x * 2, alpha) + 1,
    "mpelu": lambda x, alpha, beta: ops.mpelu(x * 2, alpha, beta) + 1,
}


def assert_compiled_equals_eager(
    function: Callable[..., Tensor], compiled: Callable[..., Tensor], arguments: list[Tensor]
) -> None:
    expected = function(*arguments)
    actual = compiled(*arguments)
    torch.testing.assert_close(actual, expected, **SAME_IN_FLOAT32)
    torch.testing.assert_close(
        torch.autograd.grad(actual.square().sum(), arguments, allow_unused=True),
        torch.autograd.grad(expected.square().sum(), arguments, allow_unused=True),
        **SAME_IN_FLOAT32,
    )


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_compile(device: torch.device, name: str, dynamic: bool) -> None:
    function = FUNCTIONS[name]
    compiled = torch.compile(function, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for shape in ((4, 3, 5), (7, 3, 6)):
        assert_compiled_equals_eager(function, compiled, tensors(device, *shape))


def test_dynamic_shapes_compile_once(device: torch.device) -> None:
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(FUNCTIONS["mpelu"], fullgraph=True, dynamic=True, backend=counter)
    for shape in ((4, 3, 5), (7, 3, 6), (2, 3, 9)):
        compiled(*tensors(device, *shape))
    assert counter.frame_count == 1


@pytest.mark.slow
def test_compile_with_inductor(device: torch.device) -> None:
    def function(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        return ops.mpelu(ops.elu(x * 2, 0.5) - 1, alpha, beta) + 1

    compiled = torch.compile(function, fullgraph=True, dynamic=True)
    for shape in ((4, 3, 5), (7, 3, 6)):
        assert_compiled_equals_eager(function, compiled, tensors(device, *shape))


def test_compiled_in_place_writes_the_argument(device: torch.device) -> None:
    def function(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        ops.elu_(x, 0.5)
        ops.mpelu_(x, alpha, beta)
        return x + 1

    x, alpha, beta = without_grad(*tensors(device))
    written, expected = x.clone(), ops.mpelu(ops.elu(x, 0.5), alpha, beta)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    output = compiled(written, alpha, beta)
    torch.testing.assert_close(written, expected, **SAME_IN_FLOAT32)
    torch.testing.assert_close(output, expected + 1, **SAME_IN_FLOAT32)


def test_compile_under_autocast(device: torch.device) -> None:
    layer = torch.nn.Conv1d(3, 3, 1).to(device)

    def function(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return ops.mpelu(layer(x), alpha, beta)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    arguments = tensors(device)
    output = compiled(*arguments)
    assert output.dtype == torch.bfloat16
    assert_same_bits(output, function(*arguments))
    output.sum().backward()
    assert arguments[1].grad.dtype == torch.float32


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_autograd(device: torch.device, name: str) -> None:
    function = FUNCTIONS[name]

    def gradients() -> tuple[Tensor, ...]:
        leaves = tensors(device)
        function(*leaves).square().sum().backward()
        return tuple(leaf.grad for leaf in leaves if leaf.grad is not None)

    expected = gradients()
    with torch._dynamo.compiled_autograd._enable(
        torch.compile(fullgraph=True, backend="aot_eager")
    ):
        actual = gradients()
    torch.testing.assert_close(actual, expected, **SAME_IN_FLOAT32)


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv1d(3, 3, 1)
        self.norm = mpelu.BatchNormMPELU1d(3)
        self.alpha = torch.nn.Parameter(torch.tensor([0.5, -1.5, 2.0]))
        self.beta = torch.nn.Parameter(torch.tensor([1.5, 0.5, 0.25]))

    def forward(self, x: Tensor) -> Tensor:
        return ops.elu(ops.mpelu(self.norm(self.layer(x)), self.alpha, self.beta), 0.5)


def export(network: Network, x: Tensor) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=2, max=64)
    return torch.export.export(network, (x,), dynamic_shapes=({0: batch},))


@pytest.mark.parametrize("training", [True, False])
def test_export(device: torch.device, tmp_path: Path, training: bool) -> None:
    network = Network().to(device).train(training)
    program = export(network, make_values((4, 3, 5), torch.float32).to(device))
    targets = {str(node.target) for node in program.graph.nodes}
    batch_norm = "batch_norm_mpelu" if training else "batch_norm_mpelu_evaluation"
    assert {f"mpelu.{name}.default" for name in ("mpelu", "elu", batch_norm)} <= targets
    torch.export.save(program, tmp_path / "network.pt2")
    loaded = torch.export.load(tmp_path / "network.pt2").module()
    x = make_values((9, 3, 5), torch.float32).to(device)
    torch.testing.assert_close(loaded(x), network(x), **SAME_IN_FLOAT32)


@pytest.mark.slow
def test_ahead_of_time_inductor(device: torch.device, tmp_path: Path) -> None:
    network = Network().to(device).eval()
    with torch.no_grad():
        program = export(network, make_values((4, 3, 5), torch.float32).to(device))
        package = torch._inductor.aoti_compile_and_package(
            program, package_path=str(tmp_path / "network.pt2")
        )
        loaded = torch._inductor.aoti_load_package(package)
        x = make_values((9, 3, 5), torch.float32).to(device)
        torch.testing.assert_close(loaded(x), network(x), **SAME_IN_FLOAT32)

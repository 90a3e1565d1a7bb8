"""State dicts go from C++ to Python and back, by the program tests/cpp/checkpoint_exchange.cpp."""

import subprocess
from pathlib import Path

import pytest
import torch
from programs import find_program
from torch import Tensor, nn

import mpelu

DTYPES = [torch.float32, torch.float64, torch.bfloat16]
# C++ and Python run the same kernels: only the order of a convolution's sums could differ.
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 1e-2}


def make_model() -> nn.Sequential:
    """The twin of the program's model."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        mpelu.MPELU(4, alpha=0.25),
        nn.ConvTranspose2d(4, 5, 2),
        mpelu.SPELU(5, alpha=0.5),
        mpelu.MPELU(),
        mpelu.ELU(0.5),
        mpelu.BatchNormMPELU2d(5, alpha=0.25),
        mpelu.BatchNormMPELU2d(5, beta=None, momentum=None, num_parameters=1),
        nn.Flatten(),
        nn.Linear(5 * 5 * 5, 2),
    )


def scrambled_model(input: Tensor) -> nn.Sequential:
    """A model in the dtype of ``input`` with parameters and statistics of its own."""
    model = make_model().to(input.dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(0.5, 1.5)
        model(input)
    return model


@pytest.fixture(scope="session")
def program() -> Path:
    return find_program("mpelu_checkpoint_exchange")


class Exchange:
    """One exchange with the program, in a folder of its own."""

    def __init__(self, program: Path, folder: Path, dtype: torch.dtype) -> None:
        self.program = program
        self.state, self.input, self.output = (folder / f"{n}.pt" for n in ("state", "in", "out"))
        self.tensor = torch.randn(2, 3, 6, 6, dtype=dtype)
        torch.save(self.tensor, self.input)

    def run(self, action: str) -> subprocess.CompletedProcess[str]:
        command = [self.program, action, self.state, self.input, self.output]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def result(self, action: str) -> Tensor:
        """The output of the program's model."""
        done = self.run(action)
        assert done.returncode == 0, done.stderr
        return torch.load(self.output)

    def refusal(self) -> str:
        """The one line with which the program refuses to load the state."""
        done = self.run("load")
        assert done.returncode == 1, (done.returncode, done.stderr)
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr


@pytest.fixture
def exchange(program: Path, tmp_path: Path) -> Exchange:
    return Exchange(program, tmp_path, torch.float32)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_python_reads_what_cpp_wrote(program: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    exchange = Exchange(program, tmp_path, dtype)
    expected = exchange.result("save")
    state = torch.load(exchange.state, weights_only=True)
    model = make_model().to(dtype)
    assert {k: v.shape for k, v in state.items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }
    # Module::to has converted num_batches_tracked as well: it does so to integers, in C++.
    assert {v.dtype for v in state.values()} == {dtype}
    model.load_state_dict(state)
    for i in (1, 7, 8):
        assert model[i].num_batches_tracked == 1
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(
        model.eval()(exchange.tensor), expected, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cpp_reads_what_python_wrote(program: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    exchange = Exchange(program, tmp_path, dtype)
    model = scrambled_model(exchange.tensor)
    torch.save(model.state_dict(), exchange.state)
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(
        exchange.result("load"), model.eval()(exchange.tensor), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize(
    "convert",
    [
        dict,
        lambda state: {name: nn.Parameter(value.float()) for name, value in state.items()},
        lambda state: {**state, "10.weight": state["10.weight"].t().contiguous().t()},
    ],
    ids=["dict", "parameters", "strides"],
)
def test_cpp_reads_any_flat_dict_of_tensors(exchange: Exchange, convert) -> None:
    model = scrambled_model(exchange.tensor)
    torch.save(convert(model.state_dict()), exchange.state)
    torch.testing.assert_close(
        exchange.result("load"), model.eval()(exchange.tensor), rtol=1e-6, atol=1e-6
    )


def _without_beta(state: dict[str, Tensor]) -> object:
    return {name: value for name, value in state.items() if name != "2.beta"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_beta, "missing keys: '2.beta'"),
        (lambda state: {**state, "11.alpha": torch.ones(1)}, "unexpected keys: '11.alpha'"),
        (
            lambda state: {**state, "2.alpha": torch.ones(3)},
            "'2.alpha' is [3] in the file and [4] in the module",
        ),
        (lambda state: {**state, "epoch": 3}, "'epoch' is not a tensor"),
        (lambda state: {"model": state}, "'model' is not a tensor"),
        (lambda state: list(state.values()), "something other than named tensors"),
        (lambda state: state["2.alpha"], "does not hold a state dict"),
    ],
    ids=["missing", "unexpected", "shape", "number", "nested", "list", "tensor"],
)
def test_cpp_says_why_a_file_does_not_fit(exchange: Exchange, change, message: str) -> None:
    torch.save(change(make_model().state_dict()), exchange.state)
    refusal = exchange.refusal()
    assert message in refusal
    assert str(exchange.state) in refusal


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99], ids=str)
def test_cpp_names_a_truncated_file(exchange: Exchange, kept: float) -> None:
    torch.save(make_model().state_dict(), exchange.state)
    content = exchange.state.read_bytes()
    exchange.state.write_bytes(content[: int(kept * len(content)) if kept < 1 else int(kept)])
    assert f"cannot read '{exchange.state}'" in exchange.refusal()

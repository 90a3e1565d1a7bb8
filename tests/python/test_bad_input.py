"""Bad input gets one error that names the argument and shows what was received."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import mpelu

ops = torch.ops.mpelu

MPELU_OPS = ("mpelu", "mpelu_", "mpelu_backward")
ELU_OPS = ("elu", "elu_", "elu_backward")
SHAPE = (2, 3, 4)


@pytest.fixture(params=["cpu", "meta", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The Meta kernels, which compilers ask first, must say the same."""
    return torch.device(request.param)


def ones(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.ones(shape, dtype=dtype)


def call(op: str, input: Tensor, *arguments: Any) -> Any:
    """`op` on `input`, with a grad_output like it where the op takes one."""
    grad_output = (torch.ones_like(input),) if op.endswith("backward") else ()
    return getattr(ops, op)(*grad_output, input, *arguments)


def assert_raises(
    function: Callable[..., Any],
    *arguments: Any,
    says: tuple[str, ...],
    error: type[Exception] = RuntimeError,
) -> None:
    """`function` raises `error`, and its message has every one of `says`, in any order."""
    with pytest.raises(error) as raised:
        function(*arguments)
    message = str(raised.value)
    for pattern in says:
        assert re.search(pattern, message), f"{pattern!r} is not in: {message}"


# name: (arguments that differ from good ones, what the message must say)
BAD_DIMS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "dim too large": ({"dim": 3}, (r"\bdim\b", "got 3", r"\[2, 3, 4\]")),
    "dim too small": ({"dim": -4}, (r"\bdim\b", "got -4", r"\[2, 3, 4\]")),
    "dim of a vector": ({"input": ones(3), "dim": 2}, (r"\bdim\b", "got 2", r"\[3\]")),
    "dim of a scalar": (
        {"input": ones(), "alpha": ones(), "dim": -2},
        (r"\bdim\b", "got -2", r"\[\]"),
    ),
}
BAD_MPELU_ARGUMENTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    **BAD_DIMS,
    "too few alphas": ({"alpha": ones(2)}, ("alpha", r"\[2\]", r"\[2, 3, 4\]")),
    "too many alphas": ({"alpha": ones(4)}, ("alpha", r"\[4\]", r"\[2, 3, 4\]")),
    "no alpha": ({"alpha": ones(0)}, ("alpha", r"\[0\]", r"\[2, 3, 4\]")),
    "too few betas": ({"beta": ones(2)}, ("beta", r"\[2\]", r"\[2, 3, 4\]")),
    "too many betas": ({"beta": ones(4)}, ("beta", r"\[4\]", r"\[2, 3, 4\]")),
    "alphas of another dim": ({"dim": 2}, ("alpha", r"\[3\]", "dim 2", r"\[2, 3, 4\]")),
    "2-d alpha": ({"alpha": ones(3, 1)}, ("alpha", r"\[3, 1\]")),
    "2-d alpha of one element": ({"alpha": ones(1, 1)}, ("alpha", r"\[1, 1\]")),
    "2-d beta": ({"beta": ones(1, 3)}, ("beta", r"\[1, 3\]")),
    "alphas for a scalar": ({"input": ones()}, ("alpha", r"\[3\]", r"\[\]")),
    "integer input": ({"input": ones(*SHAPE, dtype=torch.int64)}, ("input", "Long|int64")),
    "bool input": ({"input": ones(*SHAPE, dtype=torch.bool)}, ("input", "Bool|bool")),
    "complex input": (
        {"input": ones(*SHAPE, dtype=torch.complex64)},
        ("input", "ComplexFloat|complex64"),
    ),
    "float8 input": (
        {"input": ones(*SHAPE).to(torch.float8_e4m3fn)},
        ("input", "Float8_e4m3fn|float8_e4m3fn"),
    ),
    "integer alpha": (
        {"alpha": ones(3, dtype=torch.int64)},
        ("alpha", "Long|int64", "Float|float32"),
    ),
    "float input, double alpha": (
        {"alpha": ones(3, dtype=torch.float64)},
        ("alpha", "Double|float64", r"Float\b|float32"),
    ),
    "float input, half beta": (
        {"beta": ones(3, dtype=torch.float16)},
        ("beta", "Half|float16", r"Float\b|float32"),
    ),
    "double input, float alpha": (
        {"input": ones(*SHAPE, dtype=torch.float64)},
        ("alpha", "Double|float64", r"Float\b|float32"),
    ),
    "bfloat16 input, float16 alpha": (
        {"input": ones(*SHAPE, dtype=torch.bfloat16), "alpha": ones(3, dtype=torch.float16)},
        ("alpha", "BFloat16|bfloat16", r"\bHalf|\bfloat16"),
    ),
    "float16 input, bfloat16 beta": (
        {"input": ones(*SHAPE, dtype=torch.float16), "beta": ones(3, dtype=torch.bfloat16)},
        ("beta", "BFloat16|bfloat16", r"\bHalf|\bfloat16"),
    ),
    "float16 input, double beta": (
        {"input": ones(*SHAPE, dtype=torch.float16), "beta": ones(3, dtype=torch.float64)},
        ("beta", "Double|float64", r"\bHalf|\bfloat16"),
    ),
}


def error_of(case: str) -> type[Exception]:
    return IndexError if case in BAD_DIMS else RuntimeError


@pytest.mark.parametrize("case", BAD_MPELU_ARGUMENTS)
@pytest.mark.parametrize("op", MPELU_OPS)
def test_mpelu(device: torch.device, op: str, case: str) -> None:
    different, says = BAD_MPELU_ARGUMENTS[case]
    good = {"input": ones(*SHAPE), "alpha": ones(3), "beta": None, "dim": 1}
    arguments = [
        value.to(device) if isinstance(value, Tensor) else value
        for value in (good | different).values()
    ]
    assert_raises(call, op, *arguments, says=(rf"\b{op}\b", *says), error=error_of(case))


@pytest.mark.parametrize("case", BAD_MPELU_ARGUMENTS)
def test_mpelu_that_needs_gradients(case: str) -> None:
    different, says = BAD_MPELU_ARGUMENTS[case]
    good = {"input": ones(*SHAPE), "alpha": ones(3), "beta": None, "dim": 1}
    arguments = [
        value.clone().requires_grad_()
        if isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())
        else value
        for value in (good | different).values()
    ]
    assert_raises(call, "mpelu", *arguments, says=says, error=error_of(case))


@pytest.mark.parametrize("case", ["too many alphas", "2-d beta", "integer input", "dim too large"])
def test_mpelu_under_vmap(case: str) -> None:
    different, says = BAD_MPELU_ARGUMENTS[case]
    arguments = {"input": ones(*SHAPE), "alpha": ones(3), "beta": ones(1), "dim": 1} | different
    input = arguments["input"].expand(5, *SHAPE)

    def op(x: Tensor) -> Tensor:
        return ops.mpelu(x, arguments["alpha"], arguments["beta"], arguments["dim"])

    assert_raises(torch.vmap(op), input, says=says, error=error_of(case))


@pytest.mark.parametrize("name", ["alpha", "beta"])
@pytest.mark.parametrize("op", MPELU_OPS)
def test_parameters_on_another_device(op: str, name: str) -> None:
    for here, there in (("cpu", "meta"), ("meta", "cpu")):
        for elsewhere in (ones(3).to(there), ones().to(there)):
            good = ones(3).to(here)
            parameters = (elsewhere, good) if name == "alpha" else (good, elsewhere)
            says = (rf"\b{op}\b", name, rf"\b{here}\b", rf"\b{there}\b")
            assert_raises(call, op, ones(*SHAPE).to(here), *parameters, says=says)


@pytest.mark.cuda
@pytest.mark.parametrize("op", MPELU_OPS)
def test_parameters_on_the_cpu_with_input_on_the_gpu(op: str) -> None:
    says = ("alpha", "cuda:0", r"\bcpu\b")
    assert_raises(call, op, ones(*SHAPE).cuda(), ones(3), says=says)
    assert_raises(call, op, ones(*SHAPE), ones(3).cuda(), says=says)


BAD_DTYPES = {
    torch.int64: "Long|int64",
    torch.bool: "Bool|bool",
    torch.complex64: "ComplexFloat|complex64",
    torch.float8_e4m3fn: "Float8_e4m3fn|float8_e4m3fn",
}


@pytest.mark.parametrize("dtype", BAD_DTYPES, ids=str)
@pytest.mark.parametrize("op", ELU_OPS)
def test_elu_dtype(device: torch.device, op: str, dtype: torch.dtype) -> None:
    x = ones(*SHAPE).to(device, dtype)
    assert_raises(call, op, x, says=(rf"\b{op}\b", "input", BAD_DTYPES[dtype]))


def test_an_alpha_of_elu_that_is_a_tensor() -> None:
    """The operator would take its value, and leave it without a gradient."""
    for alpha in (torch.tensor(0.5), torch.tensor(0.5, requires_grad=True)):
        with pytest.raises(TypeError, match="expected alpha to be a number, got a Tensor"):
            mpelu.functional.elu(ones(3), alpha)


def test_elu_in_place_with_negative_alpha(device: torch.device) -> None:
    says = ("elu_", "alpha", r"-0\.5")
    assert_raises(ops.elu_, ones(3).to(device), -0.5, says=says)
    x = ones(3).to(device).requires_grad_()
    assert_raises(ops.elu_, x * 1, -0.5, says=says)


def test_elu_gradient_from_the_result_with_negative_alpha(device: torch.device) -> None:
    """Both branches' outputs are positive there: nothing could tell them apart."""
    x = ones(3).to(device)
    assert_raises(ops.elu_backward, x, x, -0.5, True, says=("elu_backward", "alpha", r"-0\.5"))


EXPANDED = {
    "expanded rows": lambda x: x[:1].expand(2, 3),
    "expanded columns": lambda x: x[:, :1].expand(2, 3),
    "expanded scalar": lambda x: x[0, 0].expand(2, 3),
}


@pytest.mark.parametrize("case", EXPANDED)
def test_in_place_on_an_expanded_tensor(device: torch.device, case: str) -> None:
    x = EXPANDED[case](torch.ones(2, 3, device=device))
    says = ("input", "expanded|overlap", r"\[2, 3\]")
    assert_raises(ops.elu_, x, says=("elu_", *says))
    assert_raises(ops.mpelu_, x, ones(3).to(device), says=("mpelu_", *says))


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_in_place_over_a_parameters_own_memory(device: torch.device, name: str) -> None:
    x = torch.ones(2, 3, device=device)
    parameters = {"alpha": ones(3).to(device), "beta": ones(3).to(device)}
    parameters[name] = x[0]
    says = ("mpelu_", rf"\b{name}\b", "memory")
    assert_raises(ops.mpelu_, x, *parameters.values(), says=says)


@pytest.mark.parametrize("name", ["input", "alpha", "beta"])
def test_mpelu_in_place_where_a_gradient_is_needed(device: torch.device, name: str) -> None:
    tensors = {"input": ones(*SHAPE), "alpha": ones(3), "beta": ones(3)}
    tensors = {key: tensor.to(device) for key, tensor in tensors.items()}
    leaf = tensors[name].requires_grad_()
    tensors[name] = leaf * 1
    assert_raises(ops.mpelu_, *tensors.values(), says=("mpelu_", "gradient", rf"\b{name}\b"))
    with torch.no_grad():
        ops.mpelu_(*tensors.values())


BAD_GRAD_OUTPUTS = {
    "fewer elements": (ones(2, 3), r"\[2, 3\]", r"\[2, 3, 4\]"),
    "another shape": (ones(4, 3, 2), r"\[4, 3, 2\]", r"\[2, 3, 4\]"),
    "one that broadcasts": (ones(1, 3, 4), r"\[1, 3, 4\]", r"\[2, 3, 4\]"),
    "double": (ones(*SHAPE, dtype=torch.float64), "Double|float64", r"Float\b|float32"),
    "half": (ones(*SHAPE, dtype=torch.float16), "Half|float16", r"Float\b|float32"),
}


@pytest.mark.parametrize("case", BAD_GRAD_OUTPUTS)
def test_grad_output(device: torch.device, case: str) -> None:
    grad_output, *says = BAD_GRAD_OUTPUTS[case]
    x, alpha = ones(*SHAPE).to(device), ones(3).to(device)
    bad = grad_output.to(device)
    assert_raises(ops.elu_backward, bad, x, says=("elu_backward", "grad_output", *says))
    assert_raises(ops.mpelu_backward, bad, x, alpha, says=("mpelu_backward", "grad_output", *says))


def test_grad_output_on_another_device() -> None:
    grad_output, x, alpha = ones(*SHAPE).to("meta"), ones(*SHAPE), ones(3)
    says = ("grad_output", r"\bmeta\b", r"\bcpu\b")
    assert_raises(ops.elu_backward, grad_output, x, says=says)
    assert_raises(ops.mpelu_backward, grad_output, x, alpha, says=says)


UNSUPPORTED_TENSORS = {
    "sparse": lambda: ones(2, 3).to_sparse(),
    "sparse CSR": lambda: ones(2, 3).to_sparse_csr(),
    "MKL-DNN": lambda: ones(2, 3).to_mkldnn(),
    "quantized": lambda: torch.quantize_per_tensor(ones(2, 3), 0.1, 0, torch.quint8),
    "nested": lambda: torch.nested.nested_tensor([ones(2, 3), ones(4, 3)]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", UNSUPPORTED_TENSORS)
@pytest.mark.parametrize("op", ["elu", "elu_", "mpelu", "mpelu_"])
def test_kinds_of_tensors_that_are_not_supported(op: str, case: str) -> None:
    x = UNSUPPORTED_TENSORS[case]()
    arguments = (ones(3),) if op.startswith("mpelu") else ()
    assert_raises(getattr(ops, op), x, *arguments, says=(rf"\b{op}\b",))


def test_sparse_parameter() -> None:
    assert_raises(ops.mpelu, ones(2, 3), ones(3).to_sparse(), says=(r"\bmpelu\b", "alpha|Sparse"))


BAD_BATCH_NORMS: dict[str, dict[str, Any]] = {
    "at least 2 dimensions": {"input": ones(3)},
    "weight to have one element for": {"weight": ones(2)},
    "bias to have the dtype": {"bias": ones(3, dtype=torch.float64)},
    "running_var to have one": {"running_mean": ones(3), "running_var": ones(4)},
    "alpha to have 1 element or": {"alpha": ones(2)},
    "running_mean and running_var where training is False": {"training": False},
}


def batch_norm_arguments(device: torch.device, **changed: Any) -> dict[str, Any]:
    arguments = {
        **dict.fromkeys(("weight", "bias", "running_mean", "running_var", "beta")),
        **{"input": ones(4, 3, 2, 2), "alpha": ones(3), "training": True},
        **{"momentum": 0.1, "eps": 1e-5},
        **changed,
    }
    return {
        name: value.to(device) if isinstance(value, Tensor) else value
        for name, value in arguments.items()
    }


@pytest.mark.parametrize("message", BAD_BATCH_NORMS)
def test_bad_arguments_of_a_batch_norm(device: torch.device, message: str) -> None:
    arguments = batch_norm_arguments(device, **BAD_BATCH_NORMS[message])
    with pytest.raises(RuntimeError, match=f"batch_norm_mpelu: expected .*{message}"):
        ops.batch_norm_mpelu(**arguments)


@pytest.mark.parametrize("name", ["grad_output", "weight", "save_mean", "save_invstd", "alpha"])
def test_the_backward_of_a_batch_norm_names_its_own_arguments(
    device: torch.device, name: str
) -> None:
    x, three = ones(4, 3, 2, 2), ones(3)
    arguments = {
        **{"grad_output": x, "input": x, "weight": three, "bias": three},
        **{"save_mean": three, "save_invstd": three, "alpha": three, "beta": three},
        name: ones(2),
    }
    on_device = {name: tensor.to(device) for name, tensor in arguments.items()}
    with pytest.raises(RuntimeError, match=f"batch_norm_mpelu_backward: expected {name} to have"):
        ops.batch_norm_mpelu_backward(**on_device, training=True, eps=1e-5)


# Without any tensor, as in elu(None), the error is torch's own.
@pytest.mark.parametrize("op", ["elu_backward", "mpelu", "mpelu_backward"])
def test_none_in_place_of_a_tensor_is_named(device: torch.device, op: str) -> None:
    x = ones(2, 3).to(device)
    names = [a.name for a in getattr(ops, op).default._schema.arguments if str(a.type) == "Tensor"]
    for name in names:
        tensors = {**dict.fromkeys(names, x), **({"alpha": x[0]} if "alpha" in names else {})}
        with pytest.raises(RuntimeError, match=rf"{op}: expected {name} to be a tensor, got None"):
            getattr(ops, op)(**{**tensors, name: None})


@pytest.mark.parametrize("name", ["grad_output", "input", "save_mean", "save_invstd", "alpha"])
def test_none_in_place_of_a_batch_norms_tensor_is_named(device: torch.device, name: str) -> None:
    x, three = ones(4, 3, 2, 2).to(device), ones(3).to(device)
    tensors = {"grad_output": x, "input": x, "save_mean": three, "save_invstd": three}
    tensors = {**tensors, "alpha": three, name: None}
    with pytest.raises(RuntimeError, match=f"expected {name} to be a tensor, got None"):
        ops.batch_norm_mpelu_backward(
            **tensors, weight=None, bias=None, beta=None, training=True, eps=1e-5
        )


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
def test_evaluation_without_statistics_is_named(device: torch.device, name: str) -> None:
    x, three = ones(4, 3, 2, 2).to(device), ones(3).to(device)
    statistics = {"running_mean": three, "running_var": three, name: None}
    with pytest.raises(ValueError, match=f"batch_norm_mpelu: expected both .* got None for {name}"):
        ops.batch_norm_mpelu_evaluation(
            x, **statistics, weight=None, bias=None, alpha=three, beta=None, eps=1e-5
        )


def test_running_statistics_that_require_grad_are_not_written(device: torch.device) -> None:
    statistics = [ones(3).to(device).requires_grad_() for _ in range(2)]
    arguments = batch_norm_arguments(device, running_mean=statistics[0], running_var=statistics[1])
    with pytest.raises(RuntimeError, match=r"batch_norm_mpelu: expected running_mean .* grad"):
        ops.batch_norm_mpelu(**arguments)
    assert device.type == "meta" or all((statistic == 1).all() for statistic in statistics)


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
def test_running_statistics_that_are_expanded_are_not_written(
    device: torch.device, name: str
) -> None:
    statistics = {"running_mean": ones(3), "running_var": ones(3)}
    statistics[name] = torch.ones(1, device=device).expand(3)
    arguments = batch_norm_arguments(device, **statistics)
    with pytest.raises(RuntimeError, match=f"batch_norm_mpelu: expected {name} without elements"):
        ops.batch_norm_mpelu(**arguments)
    evaluated = ops.batch_norm_mpelu(**{**arguments, "training": False})
    assert evaluated[0].shape == arguments["input"].shape


def test_a_batch_of_one_value_for_each_channel_is_a_value_error(device: torch.device) -> None:
    arguments = batch_norm_arguments(device, input=ones(1, 3, 1, 1))
    with pytest.raises(ValueError, match="batch_norm_mpelu: expected more than 1 value"):
        ops.batch_norm_mpelu(**arguments)


@pytest.mark.parametrize("training, eps", [(True, 0.0), (True, -1.0), (False, -1e-5)])
def test_an_eps_that_torchs_batch_norm_refuses_is_a_value_error(
    device: torch.device, training: bool, eps: float
) -> None:
    statistics = {"running_mean": ones(3), "running_var": ones(3)}
    arguments = batch_norm_arguments(device, training=training, eps=eps, **statistics)
    with pytest.raises(ValueError, match=rf"batch_norm_mpelu: expected eps .* got {eps:g}"):
        ops.batch_norm_mpelu(**arguments)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("missing", ["running_mean", "running_var"])
def test_one_running_statistic_without_the_other_is_a_value_error(
    device: torch.device, missing: str, training: bool
) -> None:
    x, statistics = ones(4, 3, 2), {"running_mean": ones(3), "running_var": ones(3), missing: None}
    with pytest.raises(ValueError, match="running_mean and running_var"):
        F.batch_norm(x, **statistics, training=True)
    arguments = batch_norm_arguments(device, input=x, training=training, **statistics)
    with pytest.raises(
        ValueError, match=f"both running_mean and running_var .* None for {missing}"
    ):
        ops.batch_norm_mpelu(**arguments)

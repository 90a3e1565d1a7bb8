"""Exported programs: what they write, and how they go where the operators are not known."""

from __future__ import annotations

from collections.abc import Callable

import onnx.reference
import pytest
import torch
from convert_samples import randomise
from tolerances import SAME_IN_FLOAT32
from torch import Tensor, nn

import mpelu
import mpelu.functional as MF

ops = torch.ops.mpelu


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "elu": lambda: mpelu.ELU(0.7),
    "elu in place": lambda: nn.Sequential(nn.Conv2d(3, 4, 1), mpelu.ELU(0.7, inplace=True)),
    "spelu": lambda: mpelu.SPELU(3),
    "mpelu": lambda: mpelu.MPELU(3),
    "shared mpelu": lambda: mpelu.MPELU(),
    "batch norm": lambda: mpelu.BatchNormMPELU2d(3),
    "batch norm, spelu, not affine": lambda: mpelu.BatchNormMPELU2d(3, beta=None, affine=False),
    "network": lambda: mpelu.models.mpelu_resnet(11, num_classes=4),
    "network, not fused": lambda: mpelu.models.mpelu_resnet(11, num_classes=4, fused=False),
}


def targets(program: torch.export.ExportedProgram) -> set[str]:
    return {str(node.target) for node in program.graph.nodes if node.op == "call_function"}


def trained(name: str) -> nn.Module:
    torch.manual_seed(0)
    return randomise(MODELS[name]()).eval()


def exported(model: nn.Module, x: Tensor, **options: object) -> torch.export.ExportedProgram:
    program = torch.export.export(model, (x,), **options)
    assert any(name.startswith("mpelu.") for name in targets(program))
    return program


@pytest.mark.parametrize("name", MODELS)
def test_a_decomposed_program_has_no_operator_of_the_library_and_computes_the_same(name):
    model = trained(name)
    program = exported(model, X).run_decompositions(mpelu.export.decompositions())
    assert not any("mpelu" in target for target in targets(program))
    torch.testing.assert_close(program.module()(X), model(X))


def test_a_decomposed_program_takes_batches_of_any_size():
    model = trained("network")
    batch = torch.export.Dim("batch", min=2)
    program = exported(model, torch.randn(4, 3, 8, 8), dynamic_shapes=({0: batch},))
    module = program.run_decompositions(mpelu.export.decompositions()).module()
    for size in (2, 7):
        x = torch.randn(size, 3, 8, 8)
        torch.testing.assert_close(module(x), model(x))


@pytest.mark.parametrize("name", MODELS)
def test_onnx_computes_the_same(name, tmp_path):
    model = trained(name)
    program = exported(model, X).run_decompositions(mpelu.export.decompositions())
    file = tmp_path / "model.onnx"
    torch.onnx.export(program).save(file)
    evaluator = onnx.reference.ReferenceEvaluator(str(file))
    (actual,) = evaluator.run(None, {evaluator.input_names[0]: X.numpy()})
    torch.testing.assert_close(torch.from_numpy(actual), model(X), **SAME_IN_FLOAT32)


def test_a_program_for_evaluation_writes_nothing():
    program = exported(trained("network"), X)
    tables = ({}, mpelu.export.decompositions())
    for each in (program, *(program.run_decompositions(table) for table in tables)):
        assert not each.graph_signature.buffers_to_mutate
        assert not any("functionalized" in target for target in targets(each))


def test_every_operator_that_writes_nothing_has_a_decomposition():
    schemas = [s for s in torch._C._jit_get_all_schemas() if s.name.startswith("mpelu::")]
    pure = {s.name for s in schemas if not s.is_mutable}
    assert {op.name() for op in mpelu.export.decompositions()} == pure


@pytest.mark.parametrize("has_beta", [True, False])
def test_a_decomposition_is_the_operator_with_its_defaults(has_beta):
    table = mpelu.export.decompositions()
    x, alpha = torch.randn(4, 3), torch.rand(3)
    arguments = (x, alpha, torch.rand(3)) if has_beta else (x, alpha)
    torch.testing.assert_close(table[ops.mpelu.default](*arguments), ops.mpelu(*arguments))
    torch.testing.assert_close(table[ops.elu.default](x), MF.elu(x))
    for name in ("elu_backward", "mpelu_backward"):
        given = (x, *(arguments if name == "mpelu_backward" else (x,)))
        op = getattr(ops, name)
        torch.testing.assert_close(table[op.default](*given), op(*given))

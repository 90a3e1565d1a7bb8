"""What follows what in a model, found by following its data with torch.fx.

Only what is certain counts. For the activation that follows a layer, that is a chain of single
users through layers that leave the scale of the negative half alone: a branch, an addition or an
unknown operation ends the search.
"""

import math
import operator
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from mpelu.nn import ELU, MPELU, SPELU, BatchNormMPELU1d, BatchNormMPELU2d, BatchNormMPELU3d

Layer: TypeAlias = (
    nn.Linear
    | nn.Conv1d
    | nn.Conv2d
    | nn.Conv3d
    | nn.ConvTranspose1d
    | nn.ConvTranspose2d
    | nn.ConvTranspose3d
)

#: Their weights are (in, out, ...kernel size).
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

# An activation is known by its slope at 0-, which is alpha * beta for ELU, SPELU and MPELU.
_MODULE_SLOPES: dict[type[nn.Module], Callable[[Any], Any]] = {
    ELU: lambda module: module.alpha,
    SPELU: lambda module: module.alpha,
    MPELU: lambda module: module.alpha * module.beta,
    **dict.fromkeys(
        (BatchNormMPELU1d, BatchNormMPELU2d, BatchNormMPELU3d),
        lambda module: module.alpha if module.beta is None else module.alpha * module.beta,
    ),
    nn.ELU: lambda module: module.alpha,
    nn.PReLU: lambda module: module.weight,
    nn.LeakyReLU: lambda module: module.negative_slope,
    nn.ReLU: lambda module: 0.0,
}


def _relu(input: fx.Node, inplace: bool = False) -> float:
    return 0.0


def _leaky_relu(input: fx.Node, negative_slope: float = 0.01, inplace: bool = False) -> float:
    return negative_slope


def _elu(input: fx.Node, alpha: float = 1.0, inplace: bool = False) -> float:
    return alpha


def _prelu(input: fx.Node, weight: Tensor) -> Tensor:
    return weight


def _mpelu(input: fx.Node, alpha: Tensor, beta: Tensor | None = None, dim: int = 1) -> Tensor:
    return alpha if beta is None else alpha * beta


# Keyed by what torch.fx records: a function, or the name of a tensor's method.
_FUNCTION_SLOPES: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"), _relu),
    **dict.fromkeys((F.leaky_relu, F.leaky_relu_), _leaky_relu),
    **dict.fromkeys((F.elu, F.elu_, torch.ops.mpelu.elu, torch.ops.mpelu.elu_), _elu),
    **dict.fromkeys((F.prelu, torch.prelu, "prelu"), _prelu),
    **dict.fromkeys((torch.ops.mpelu.mpelu, torch.ops.mpelu.mpelu_), _mpelu),
}

#: Each channel of what they put out is of the same channel of what they take in.
CHANNELWISE_MODULES = (
    nn.modules.dropout._DropoutNd,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.Identity,
)
_PASSING_MODULES = (nn.modules.batchnorm._BatchNorm, *CHANNELWISE_MODULES, nn.Flatten)
_PASSING_FUNCTIONS = {
    F.batch_norm,
    *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d),
    *(F.max_pool1d, F.max_pool2d, F.max_pool3d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d),
    *(F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d),
    *(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d),
    *(torch.flatten, "flatten", "reshape", "view", "contiguous"),
}


def negative_slope(activation: nn.Module) -> float | None:
    """The slope at 0 of an activation's negative half; None where it isn't a known activation.

    It is alpha * beta for ELU, SPELU and MPELU, and 0 for ReLU. Of several channels it is the root
    mean square, which is what the variance of a layer's output depends on.
    """
    known = next((base for base in type(activation).__mro__ if base in _MODULE_SLOPES), None)
    return None if known is None else _root_mean_square(_MODULE_SLOPES[known](activation))


def _root_mean_square(slope: float | Tensor) -> float | None:
    if not isinstance(slope, Tensor):
        return abs(float(slope))
    if slope.is_meta:
        return None
    return math.sqrt(slope.detach().double().square().mean().item())


class _Tracer(fx.Tracer):
    """Traces a model down to its layers and activations; ``opaque`` modules stay whole."""

    def __init__(self, opaque: set[nn.Module]) -> None:
        super().__init__()
        self.opaque = opaque
        self.failed: nn.Module | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if m in self.opaque or isinstance(m, (Layer, *_MODULE_SLOPES)):
            return True
        return super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            if self.failed is None:  # the innermost one is the first to pass here
                self.failed = m
            raise


@contextmanager
def attributes_restored(model: nn.Module) -> Iterator[None]:
    """Undoes what tracing leaves on modules: torch.fx's constants, and what a forward() sets."""
    before = {module: dict(vars(module)) for module in model.modules()}
    try:
        yield
    finally:
        for module, attributes in before.items():
            vars(module).clear()
            vars(module).update(attributes)


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Puts every module in one mode for a while; they may be in different ones before."""
    before = {module: module.training for module in model.modules()}
    try:
        for module in before:
            module.training = training
        yield
    finally:
        for module, mode in before.items():
            module.training = mode


def graphs(module: nn.Module) -> Iterator[tuple[nn.Module, fx.Graph]]:
    """Graphs that together show the layers of a module, each with the module that it belongs to.

    A part that does not trace stays whole in the graph around it, and its own parts are traced by
    themselves.
    """
    opaque: set[nn.Module] = set()
    untraced = opaque
    while True:
        tracer = _Tracer(opaque)
        try:
            graph = tracer.trace(module)
        except Exception:
            if tracer.failed is not None and tracer.failed not in opaque:
                opaque.add(tracer.failed)
                continue
            untraced = {module}
        else:
            yield module, graph
        break
    for part in untraced:
        for child in part.children():
            yield from graphs(child)


def _asks_shape(user: fx.Node) -> bool:
    if user.target is getattr:
        return user.args[1] in ("shape", "ndim", "device", "dtype")
    return user.target in ("size", "dim")


def _only_user(node: fx.Node) -> fx.Node | None:
    """The one node that takes this one's data, if there is one and it takes it as its input."""
    users = [user for user in node.users if not _asks_shape(user)]
    if len(users) != 1:
        return None
    user = users[0]
    return user if node is (user.args[0] if user.args else user.kwargs.get("input")) else None


def _attribute(root: nn.Module, argument: Any) -> Any:
    """A function's argument, with parameters and buffers in place of the nodes that fetch them."""
    if isinstance(argument, fx.Node) and argument.op == "get_attr":
        return operator.attrgetter(str(argument.target))(root)
    return argument


def _slope_after(root: nn.Module, node: fx.Node) -> float | None:
    """The slope of the activation that this node's output runs into; None if not certain."""
    user = _only_user(node)
    if user is None:
        return None
    if user.op == "call_module":
        module = root.get_submodule(str(user.target))
        slope = negative_slope(module)  # comes first: BatchNormMPELU is a batch norm too
        passes = slope is None and isinstance(module, _PASSING_MODULES)
        return _slope_after(root, user) if passes else slope
    if user.target in _PASSING_FUNCTIONS:
        return _slope_after(root, user)
    computed = [source for source in user.all_input_nodes if source.op != "get_attr"]
    if user.target not in _FUNCTION_SLOPES or computed != [node]:
        return None
    args = [_attribute(root, argument) for argument in user.args]
    kwargs = {name: _attribute(root, argument) for name, argument in user.kwargs.items()}
    return _root_mean_square(_FUNCTION_SLOPES[user.target](*args, **kwargs))


def slopes_after_layers(model: nn.Module) -> dict[Layer, float | None]:
    """For each layer of a model, the negative slope of the activation that follows it.

    Returns:
        dict: from convolution or linear module to slope, in the order of ``model.modules()``;
        None where it is not certain, as for a last layer, before a residual addition, or where a
        layer is used twice with different activations after it.
    """
    found: dict[nn.Module, set[float | None]] = defaultdict(set)
    with attributes_restored(model):
        for root, graph in graphs(model):
            for node in graph.nodes:
                if node.op != "call_module":
                    continue
                module = root.get_submodule(str(node.target))
                if isinstance(module, Layer):
                    found[module].add(_slope_after(root, node))
    layers = (module for module in model.modules() if isinstance(module, Layer))
    return {layer: _single(found[layer]) for layer in layers}


def _single(slopes: set[float | None]) -> float | None:
    return next(iter(slopes)) if len(slopes) == 1 else None


class Call(NamedTuple):
    """One place where a model's forward calls a module, and the module that alone takes over.

    Identities on the way from one to the other do not count.
    """

    module: nn.Module
    follower: nn.Module | None


def module_calls(model: nn.Module, training: bool) -> list[Call]:
    """Every call of a module that shows when a model is traced in training or evaluation mode.

    Code that takes a module's parameter or buffer counts as a call that nothing follows.
    """
    calls = []
    with attributes_restored(model), in_mode(model, training):
        for root, graph in graphs(model):
            for node in graph.nodes:
                target = str(node.target)
                if node.op == "call_module":
                    calls.append(Call(root.get_submodule(target), _follower(root, node)))
                elif node.op == "get_attr":
                    calls.append(Call(root.get_submodule(target.rpartition(".")[0]), None))
    return calls


def _follower(root: nn.Module, node: fx.Node) -> nn.Module | None:
    user = _only_user(node)
    if user is None or user.op != "call_module":
        return None
    module = root.get_submodule(str(user.target))
    return _follower(root, user) if type(module) is nn.Identity else module

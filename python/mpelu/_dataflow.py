"""What follows what in a model, found by following its data with torch.fx.

Only what is certain counts. For the activation that follows a layer, that is a chain of single
users through layers that leave the scale of the negative half alone: a branch, an addition or an
unknown operation ends the search.
"""

import inspect
import math
import operator
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from mpelu._surgery import is_plain
from mpelu._unchanged import drawing_nothing, in_mode, state_restored
from mpelu.nn import ELU, MPELU, SPELU, BatchNormMPELU

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
    BatchNormMPELU: lambda module: (
        module.alpha if module.beta is None else module.alpha * module.beta
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


def kept(value: Any) -> None:
    """Stands in a graph for the module that keeps a value in one of its attributes."""


class Tracer(fx.Tracer):
    """Traces what a forward does every time that it runs, and leaves the model as it was."""

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        if "forward" in vars(root):
            raise TypeError("torch.fx would trace the class's forward, not the module's own")
        with state_restored(root), drawing_nothing():
            graph = super().trace(root, concrete_args)
            for node in graph.nodes:
                if node.op == "get_attr":  # of torch.fx's constants nothing else will be left
                    node.meta["value"] = operator.attrgetter(node.target)(root)
            for value in tree_leaves([vars(module) for module in root.modules()]):
                if isinstance(value, fx.Proxy):
                    graph.call_function(kept, (value.node,))
        return graph


class _LayerTracer(Tracer):
    """Traces a model down to its layers and activations.

    ``opaque`` modules stay whole, and those with hooks, which see what goes in and comes out.
    """

    def __init__(self, opaque: set[nn.Module]) -> None:
        super().__init__()
        self.opaque = opaque
        self.whole: set[nn.Module] = set()
        self.failed: nn.Module | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = isinstance(m, (Layer, *_MODULE_SLOPES))
        if known or super().is_leaf_module(m, module_qualified_name):
            return True
        if m in self.opaque or not is_plain(m):
            self.whole.add(m)
        return m in self.whole

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        try:
            return super().call_module(m, drawing_nothing()(forward), args, kwargs)
        except Exception:
            if self.failed is None:  # the innermost one is the first to pass here
                self.failed = m
            raise


def graphs(module: nn.Module) -> Iterator[tuple[nn.Module, list[fx.Graph]]]:
    """Graphs that together show the layers of a module, each list with the module it belongs to.

    A module has a graph for each choice of the optional arguments to leave out. A part that does
    not trace stays whole in the graphs around it, and its own parts are traced by themselves.
    """
    opaque: set[nn.Module] = set()
    found, whole = _traced(module, opaque)
    yield module, found
    for part in whole:
        for root in _run_by_forward(part) if part in opaque else (part,):
            yield from graphs(root)


def _traced(module: nn.Module, opaque: set[nn.Module]) -> tuple[list[fx.Graph], set[nn.Module]]:
    """A module's graphs, and the modules that are whole in them. Adds to opaque what fails."""
    while True:
        tracer = _LayerTracer(opaque)
        try:
            found = [tracer.trace(module, defaults or None) for defaults in _left_out(module)]
            return found, tracer.whole
        except Exception:
            if tracer.failed is None or tracer.failed in opaque:  # it is the module's own forward
                opaque.add(module)
                return [], {module}
            opaque.add(tracer.failed)


def _left_out(module: nn.Module) -> list[dict[str, Any]]:
    """Every choice of a forward's optional arguments to leave out, with the defaults of these."""
    parameters = inspect.signature(type(module).forward).parameters.values()
    optional = [(p.name, p.default) for p in parameters if p.default is not p.empty]
    if len(optional) > 3 or any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise TypeError("optional arguments are too many to try every choice")
    counts = range(len(optional) + 1)
    return [dict(chosen) for count in counts for chosen in combinations(optional, count)]


def _run_by_forward(module: nn.Module) -> Iterator[nn.Module]:
    """The modules in one that does not trace, but for those that it may run by another method."""
    for child in module.children():
        own = [vars(base) for base in type(child).__mro__ if base not in nn.Module.__mro__]
        methods = {name for names in own for name in names if inspect.isfunction(names[name])}
        public = {name for name in methods if not name.startswith("_")}
        if type(child) is nn.Sequential or public <= set(dir(nn.Module)):
            yield child
        else:
            yield from _run_by_forward(child)


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


def _attribute(argument: Any) -> Any:
    """A function's argument, with parameters and buffers in place of the nodes that fetch them."""
    if isinstance(argument, fx.Node) and argument.op == "get_attr":
        return argument.meta["value"]
    return argument


def _slope_after(root: nn.Module, node: fx.Node) -> float | None:
    """The slope of the activation that this node's output runs into; None if not certain."""
    user = _only_user(node)
    if user is None:
        return None
    if user.op == "call_module":
        module = root.get_submodule(str(user.target))
        passes = isinstance(module, _PASSING_MODULES)
        return _slope_after(root, user) if passes else negative_slope(module)
    if user.target in _PASSING_FUNCTIONS:
        return _slope_after(root, user)
    computed = [source for source in user.all_input_nodes if source.op != "get_attr"]
    if user.target not in _FUNCTION_SLOPES or computed != [node]:
        return None
    args = [_attribute(argument) for argument in user.args]
    kwargs = {name: _attribute(argument) for name, argument in user.kwargs.items()}
    return _root_mean_square(_FUNCTION_SLOPES[user.target](*args, **kwargs))


def slopes_after_layers(model: nn.Module) -> dict[Layer, float | None]:
    """For each layer of a model, the negative slope of the activation that follows it.

    Returns:
        dict: from convolution or linear module to slope, in the order of ``model.modules()``;
        None where it is not certain, as for a last layer, before a residual addition, or where a
        layer is used twice with different activations after it.
    """
    found: dict[nn.Module, set[float | None]] = defaultdict(set)
    for root, node in module_nodes(model):
        module = root.get_submodule(str(node.target))
        if isinstance(module, Layer):
            found[module].add(_slope_after(root, node))
    layers = (module for module in model.modules() if isinstance(module, Layer))
    return {layer: _single(found[layer]) for layer in layers}


def module_nodes(model: nn.Module) -> Iterator[tuple[nn.Module, fx.Node]]:
    """The calls of modules in a model's graphs, each with the module whose graph it is in."""
    for root, traced in graphs(model):
        for graph in traced:
            yield from ((root, node) for node in graph.nodes if node.op == "call_module")


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

    Code that takes a module's parameter or buffer counts as a call that nothing follows, and a
    call that is the same with and without an optional argument counts once.
    """
    calls: list[Call] = []
    with in_mode(model, training):
        for root, traced in graphs(model):
            merged: Counter[Call] = Counter()
            for graph in traced:
                merged |= Counter(_calls(root, graph))
            calls += merged.elements()
    return calls


def _calls(root: nn.Module, graph: fx.Graph) -> Iterator[Call]:
    for node in graph.nodes:
        target = str(node.target)
        if node.op == "call_module":
            yield Call(root.get_submodule(target), _follower(root, node))
        elif node.op == "get_attr":
            yield Call(root.get_submodule(target.rpartition(".")[0]), None)


def _follower(root: nn.Module, node: fx.Node) -> nn.Module | None:
    user = _only_user(node)
    if user is None or user.op != "call_module":
        return None
    module = root.get_submodule(str(user.target))
    return _follower(root, user) if type(module) is nn.Identity else module

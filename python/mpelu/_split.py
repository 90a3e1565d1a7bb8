"""Activation modules that a forward calls in several places become one module for each place."""

import copy
import inspect
from collections.abc import Mapping
from itertools import chain, count
from typing import TypeAlias

from torch import fx, nn

from mpelu._dataflow import Tracer, kept
from mpelu._surgery import held_elsewhere, is_plain, replace
from mpelu._unchanged import in_mode

__all__ = ["split_shared_activations_"]

Types: TypeAlias = type[nn.Module] | tuple[type[nn.Module], ...]


def split_shared_activations_(model: nn.Module, types: Types = nn.ReLU) -> nn.Module:
    r"""Gives each place where a block calls an activation an activation of its own, in place.

    A block that calls one activation module in several places, as torchvision's residual blocks do
    with their ``relu``, has one set of parameters for all of them once it is an MPELU, and its
    batch norms cannot be fused with it. Split, ``relu`` is called first and its copies ``relu_1``,
    ``relu_2`` and so on after it::

        split_shared_activations_(model)
        replace_activations_(model, example_input=example)
        fuse_batch_norm_(model)

    For this the block's code has to change: it becomes a :class:`torch.fx.GraphModule` that does
    the same, with the same parts under the same names. Other attributes of the block are gone, and
    what its forward took from them stays as it was. A block stays as it is where it does not trace,
    draws random numbers in Python, does something else in training than in evaluation, keeps
    tensors in its attributes, has optional arguments, hooks, or parameters or buffers of its own,
    overrides other methods of :class:`torch.nn.Module` than ``forward`` and ``extra_repr``, has a
    part with the name of a GraphModule's attribute, is in a plain list, dict or tuple too, is one
    of torch's own or is the model itself.

    Args:
        model: the model.
        types: the type of the activations, with its subclasses, or a tuple of types. Default:
            :class:`torch.nn.ReLU`

    Returns:
        nn.Module: ``model`` itself.

    Example::

        >>> model = torchvision.models.resnet50()
        >>> mpelu.convert.split_shared_activations_(model)
    """
    fixed = {model, *held_elsewhere(model)}
    for block in reversed(list(model.modules())):  # from the inside out
        if block not in fixed and (split := _split(block, types)) is not None:
            replace(model, {block: split})
    return model


class _OneLevel(Tracer):
    """Traces a module's own forward: every module that it calls is a leaf."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _traced(block: nn.Module, training: bool) -> fx.Graph | None:
    with in_mode(block, training):
        try:
            return _OneLevel().trace(block)
        except Exception:  # whatever a forward raises when it is run without values
            return None


def _split(block: nn.Module, types: Types) -> nn.Module | None:
    """The block with an activation for each call; None where there is nothing to split."""
    from_torch = type(block).__module__.startswith("torch.nn.")
    has_tensors = bool(block._parameters or block._buffers)
    has_activation = any(isinstance(part, types) for part in block.children())
    if from_torch or has_tensors or not has_activation or not is_plain(block):
        return None
    has_taken_names = any(hasattr(fx.GraphModule, name) for name in block._modules)
    if has_taken_names or _overrides_more_than_forward(block):
        return None
    graph, in_evaluation = (_traced(block, training) for training in (True, False))
    if graph is None or str(graph) != str(in_evaluation):
        return None
    if any(_is_optional(node) or _is_of_the_block(node) for node in graph.nodes):
        return None
    copies = _give_copies(graph, block, types)
    return _graph_module(block, graph, copies) if copies else None


def _overrides_more_than_forward(block: nn.Module) -> bool:
    """Whether a class has methods of nn.Module's anew, that a GraphModule would not have."""
    methods = {name for name, value in vars(nn.Module).items() if inspect.isfunction(value)}
    public = {name for name in methods if not name.startswith("__")} - {"forward", "extra_repr"}
    return any(
        getattr(type(block), name) is not getattr(nn.Module, name) for name in (*public, "__call__")
    )


def _is_optional(node: fx.Node) -> bool:
    """Whether it is an argument with a default, for which the forward may do something else."""
    return node.op == "placeholder" and (bool(node.args) or str(node.target).startswith("*"))


def _is_of_the_block(node: fx.Node) -> bool:
    """Whether it takes a value from an attribute of the block, or keeps one there."""
    return node.op == "get_attr" or node.target is kept


def _give_copies(graph: fx.Graph, block: nn.Module, types: Types) -> dict[str, nn.Module]:
    """Lets each call of an activation but the first name a copy, and returns these."""
    taken = {name for name, _ in block.named_modules(remove_duplicate=False)}
    copies: dict[str, nn.Module] = {}
    called: set[str] = set()
    for node in graph.nodes:
        target = str(node.target)
        if node.op != "call_module" or not isinstance(block.get_submodule(target), types):
            continue
        if target in called:
            names = (f"{target.replace('.', '_')}_{i}" for i in count(1))
            node.target = next(name for name in names if name not in taken)
            taken.add(node.target)
            copies[node.target] = copy.deepcopy(block.get_submodule(target))
        called.add(target)
    return copies


def _graph_module(
    block: nn.Module, graph: fx.Graph, copies: Mapping[str, nn.Module]
) -> fx.GraphModule:
    root = nn.Module()
    for name, part in chain(block._modules.items(), copies.items()):
        root.add_module(name, part)
    module = fx.GraphModule(root, graph, type(block).__name__)
    for name, part in root._modules.items():  # also those that are not called; in their order
        module._modules.pop(name, None)
        module.add_module(name, part)
    return module

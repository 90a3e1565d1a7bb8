"""How many channels the activations of a model work on, and in which dimension."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from mpelu._dataflow import CHANNELWISE_MODULES, attributes_restored, graphs, in_mode


class Site(NamedTuple):
    """The data that a module is called with: its channels, and where its parameters belong."""

    channels: int
    dim: int
    device: torch.device
    dtype: torch.dtype


# An attribute of the tensors that have their channels in the last dimension.
_MARK = "_mpelu_channels_last"
# By the names of functions and of a tensor's methods: what puts features last ...
_MAKING_LAST = {"embedding", "linear", "lstm", "matmul", "multi_head_attention_forward"}
# ... and what leaves the channels where they are.
_KEEPING_LAST = {
    *("add", "addcmul", "div", "mul", "neg", "pow", "__rsub__", "sub", "where", "masked_fill"),
    *("gelu", "sigmoid", "silu", "softmax", "tanh", "dropout", "layer_norm", "rms_norm"),
    *("cat", "chunk", "split", "clone", "contiguous", "detach", "float", "to", "type_as"),
}


class _MarkingChannelsLast(TorchFunctionMode):
    """Marks what has features in its last dimension, and what keeps them there."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", None)
        sources = tree_leaves((args, kwargs))
        keeps = name in _KEEPING_LAST and any(hasattr(source, _MARK) for source in sources)
        if keeps or name in _MAKING_LAST:
            for tensor in tree_leaves(output):
                if isinstance(tensor, Tensor):
                    setattr(tensor, _MARK, True)
        return output


def sites_seen(
    model: nn.Module, activations: Iterable[nn.Module], example_input: Tensor | tuple[Any, ...]
) -> dict[nn.Module, set[Site]]:
    """The sites that activations are called at when the model runs on an example."""
    seen: dict[nn.Module, set[Site]] = {activation: set() for activation in activations}

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        input, *_ = (*args, *kwargs.values())
        dim = -1 if input.dim() > 2 and hasattr(input, _MARK) else 1
        channels = input.shape[dim] if input.dim() > 1 else input.numel()
        seen[module].add(Site(channels, dim, input.device, input.dtype))

    example = example_input if isinstance(example_input, tuple) else (example_input,)
    handles = [module.register_forward_pre_hook(look, with_kwargs=True) for module in seen]
    evaluation = in_mode(model, training=False)
    try:
        with attributes_restored(model), evaluation, torch.no_grad(), _MarkingChannelsLast():
            model(*example)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def sites_inferred(model: nn.Module, names: Mapping[nn.Module, str]) -> dict[nn.Module, set[Site]]:
    """The sites that activations are called at, as the layers before them tell."""
    found: dict[nn.Module, set[Site | None]] = defaultdict(set)
    with attributes_restored(model):
        for root, graph in graphs(model):
            for node in graph.nodes:
                if node.op == "call_module":
                    found[root.get_submodule(str(node.target))].add(_site_of(root, node))
    uncertain = [name for module, name in names.items() if None in found.get(module, {None})]
    if uncertain:
        raise ValueError(
            f"cannot tell how many channels {', '.join(map(repr, uncertain))} has: give an "
            "example_input to run the model on"
        )
    return {module: {site for site in found[module] if site} for module in names}


_KEEPING_CHANNELS = (
    *CHANNELWISE_MODULES,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
)


def _site_of(root: nn.Module, node: fx.Node) -> Site | None:
    """The site of a module's call: what the layer before it puts out."""
    source = node.args[0] if node.args else node.kwargs.get("input")
    if not isinstance(source, fx.Node) or source.op != "call_module":
        return None
    layer: Any = root.get_submodule(str(source.target))
    if isinstance(layer, _KEEPING_CHANNELS):
        return _site_of(root, source)
    if isinstance(layer, nn.Linear):
        channels, dim = layer.out_features, -1
    elif isinstance(layer, nn.modules.conv._ConvNd):
        channels, dim = layer.out_channels, 1
    elif isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.affine:
        channels, dim = layer.num_features, 1
    else:
        return None
    return Site(channels, dim, layer.weight.device, layer.weight.dtype)

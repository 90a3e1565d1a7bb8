"""How many channels the activations of a model work on, and in which dimension."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from mpelu._dataflow import CHANNELWISE_MODULES, module_nodes
from mpelu._unchanged import in_mode, state_restored


class Site(NamedTuple):
    """The data that a module is called with: its channels, and where its parameters belong."""

    channels: int
    dim: int
    device: torch.device
    dtype: torch.dtype


# The dimension of a tensor's channels, 1 or -1, in an attribute of the tensor.
_MARK = "_mpelu_channels"
# By the names of functions and of a tensor's methods: what puts channels in dimension 1 ...
_MAKING_FIRST = {
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
    *("batch_norm", "group_norm", "instance_norm", "batch_norm_mpelu"),
}
# ... what puts them last ...
_MAKING_LAST = {
    *("embedding", "linear", "bilinear", "matmul", "__matmul__", "mm", "bmm"),
    *("addmm", "baddbmm", "addbmm", "multi_head_attention_forward", "scaled_dot_product_attention"),
    *("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell"),
    "rnn_relu_cell",
}
# ... and what puts dimensions elsewhere, where equal sizes cannot be told apart.
_MOVING = {"transpose", "permute", "swapaxes", "swapdims", "movedim", "moveaxis", "__get__"}


def _made(name: str, args: tuple[Any, ...]) -> int | None:
    """Where a function puts the channels that it makes."""
    if name == "einsum":
        operands, _, output = str(args[0]).replace(" ", "").partition("->")
        return None if output[-1:] in operands.split(",")[0] else -1
    if name in _MAKING_FIRST:
        # Without a batch, the channels of conv2d's (C, H, W) are in dimension 0.
        is_single = name.startswith("conv") and args and args[0].dim() == int(name[-2]) + 1
        return None if is_single else 1
    return -1 if name in _MAKING_LAST else None


def _kept(source: Tensor, output: Tensor, moved: bool) -> int | None:
    """Where a source's channels are in what was computed from it; None if that is not clear."""
    dim: int | None = getattr(source, _MARK, None)
    if dim is None:
        return None
    channels = source.shape[dim]
    before, after = list(source.shape), list(output.shape)
    if not moved and (after[dim] == channels or _without(before, dim) == _without(after, dim)):
        return dim
    places = {1: 1, output.dim() - 1: -1}
    return places.get(after.index(channels)) if after.count(channels) == 1 else None


def _without(sizes: list[int], dim: int) -> list[int]:
    return [size for place, size in enumerate(sizes) if place != dim % len(sizes)]


class _MarkingChannels(TorchFunctionMode):
    """Marks tensors with where their channels are, from what makes them to what is done to them."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        made, moved = _made(name, args), name in _MOVING
        sources = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        for tensor in tree_leaves(output):
            if not isinstance(tensor, Tensor) or tensor.dim() < 2:
                continue
            dims = {made} if made else {_kept(source, tensor, moved) for source in sources}
            if 1 in dims and tensor.dim() > 2:
                setattr(tensor, _MARK, 1)
            elif dims & {1, -1}:
                setattr(tensor, _MARK, -1)
        return output


def sites_seen(
    model: nn.Module,
    activations: Iterable[nn.Module],
    example_input: Tensor | tuple[Any, ...],
    like: Tensor,
) -> dict[nn.Module, set[Site]]:
    """The sites that activations are called at when the model runs on an example.

    ``like`` has the model's dtype: inside autocast that of the data is another.
    """
    seen: dict[nn.Module, set[Site]] = {activation: set() for activation in activations}

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        input, *_ = (*args, *kwargs.values())
        seen[module].add(_site_at(input, like))

    example = example_input if isinstance(example_input, tuple) else (example_input,)
    handles = [module.register_forward_pre_hook(look, with_kwargs=True) for module in seen]
    evaluation = in_mode(model, training=False)
    try:
        with state_restored(model), evaluation, torch.no_grad(), _MarkingChannels():
            model(*example)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _site_at(input: Tensor, like: Tensor) -> Site:
    """The site of a call with this input. One parameter serves where its channels are not known."""
    kind = input.device.type
    autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    dtype = like.dtype if autocast else input.dtype
    dim = getattr(input, _MARK, None) if input.dim() > 2 else 1
    if dim is None:
        return Site(1, 1, input.device, dtype)
    channels = input.shape[dim] if input.dim() > 1 else input.numel()
    return Site(channels, dim, input.device, dtype)


def sites_inferred(model: nn.Module, names: Mapping[nn.Module, str]) -> dict[nn.Module, set[Site]]:
    """The sites that activations are called at, as the layers before them tell."""
    found: dict[nn.Module, set[Site | None]] = defaultdict(set)
    for root, node in module_nodes(model):
        found[root.get_submodule(str(node.target))].add(_site_of(root, node))
    uncertain = [name for module, name in names.items() if None in found.get(module, {None})]
    if uncertain:
        raise ValueError(
            f"cannot tell how many channels {', '.join(map(repr, uncertain))} has: give an "
            "example_input to run the model on"
        )
    return {module: {site for site in found[module] if site} for module in names}


_KEEPING_SHAPE = (
    nn.modules.dropout._DropoutNd,
    nn.Identity,
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
    if isinstance(layer, (*_KEEPING_SHAPE, *CHANNELWISE_MODULES)):
        site = _site_of(root, source)
        pooled = not isinstance(layer, _KEEPING_SHAPE)
        return None if pooled and site is not None and site.dim == -1 else site
    if isinstance(layer, nn.Linear):
        channels, dim = layer.out_features, -1
    elif isinstance(layer, nn.modules.conv._ConvNd):
        channels, dim = layer.out_channels, 1
    elif isinstance(layer, nn.modules.batchnorm._NormBase) and layer.affine:
        channels, dim = layer.num_features, 1
    else:
        return None
    return Site(channels, dim, layer.weight.device, layer.weight.dtype)

"""Learned activations in the place of a model's own."""

from collections.abc import Collection
from itertools import chain
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mpelu._channels import Site, sites_inferred, sites_seen
from mpelu._surgery import first_float, held_elsewhere, replace
from mpelu.init import taylor_init_
from mpelu.nn import ELU, MPELU, SPELU

__all__ = ["replace_activations_"]


def replace_activations_(
    model: nn.Module,
    from_: type[nn.Module] | tuple[type[nn.Module], ...] = nn.ReLU,
    to: str = "mpelu",
    example_input: Tensor | tuple[Any, ...] | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    taylor_init: bool = False,
) -> nn.Module:
    r"""Replaces every activation module of a type by an MPELU, SPELU or ELU, in place.

    An MPELU or SPELU gets one alpha (and beta) per channel. How many channels there are shows when
    the model runs on ``example_input``, once, in evaluation mode and without gradients. They are in
    dimension 1; where an input of three or more dimensions comes from a :class:`torch.nn.Linear`,
    or another maker of features, as the tokens of a transformer do, they are in the last. They are
    followed from the layer that makes them to the activation by the sizes of what is in between;
    where they get lost, or no known layer made them, ``num_parameters`` is 1, shared by all
    channels. Without an ``example_input``, the layer or batch norm before each activation tells,
    where :mod:`torch.fx` finds it. A model with lazy modules has to have run once.

    One activation module stays one: where the model calls it in several places, or has it under
    several names, these share its parameters. With the same number of channels everywhere they are
    still one per channel; with different ones (as in torchvision's bottleneck blocks), or where
    ``example_input`` does not get to it, ``num_parameters`` is 1, shared by all channels.
    :func:`split_shared_activations_` before this makes one activation of each call.

    Activations that are called as functions, such as :func:`torch.nn.functional.relu`, are part of
    the model's code and stay. What was registered on an old module (hooks, parameters) goes with
    it, and an in-place activation becomes one that is not.

    Args:
        model: the model.
        from_: the type of the activations to replace, with its subclasses, or a tuple of types.
            Default: :class:`torch.nn.ReLU`
        to: "mpelu", "spelu" or "elu". Default: "mpelu"
        example_input: what the model can be called with: a tensor, or a tuple of arguments.
            Dimensions of different sizes are told apart best. "elu" needs none.
        alpha: what alpha starts from, or for "elu" its fixed value. Default: 1.0
        beta: what beta starts from; "mpelu" alone has it. Default: 1.0
        taylor_init: initialise the model's layers anew, by :func:`mpelu.init.taylor_init_`; layers
            without a certain activation take the new ones' alpha and beta. Default: ``False``

    Returns:
        nn.Module: ``model`` itself.

    Raises:
        ValueError: if ``to`` is unknown, no such activation is in the model, one is in a plain
            list, dict or tuple too, a module is still lazy, no ``example_input`` is given where it
            is needed, or :func:`mpelu.init.taylor_init_` refuses. Nothing was changed.
        TypeError: if ``from_`` is something else.

    Example::

        >>> model = torchvision.models.resnet18()
        >>> example = torch.randn(1, 3, 224, 224)
        >>> mpelu.convert.replace_activations_(model, example_input=example, alpha=0.25)
    """
    if to not in ("mpelu", "spelu", "elu"):
        raise ValueError(f"to must be 'mpelu', 'spelu' or 'elu', got {to!r}")
    types = from_ if isinstance(from_, tuple) else (from_,)
    if not all(isinstance(each, type) for each in types):
        raise TypeError(f"from_ must be a type of modules or a tuple of types, got {from_!r}")
    names = _replaceable(model, types)
    if to == "elu":
        replacements: dict[nn.Module, nn.Module] = {module: ELU(alpha) for module in names}
    else:
        like = first_float(model)
        sites = (
            sites_inferred(model, names)
            if example_input is None
            else sites_seen(model, names, example_input, like)
        )
        replacements = {
            module: _learned(alpha, beta if to == "mpelu" else None, sites[module], like)
            for module in names
        }
    replace(model, replacements)
    if taylor_init:
        try:
            taylor_init_(model, alpha, beta if to == "mpelu" else 1.0)
        except ValueError:
            replace(model, {new: old for old, new in replacements.items()})
            raise
    _leave_fast_paths(model, replacements.values())
    return model


def _replaceable(model: nn.Module, types: tuple[type[nn.Module], ...]) -> dict[nn.Module, str]:
    """The modules of these types, with their names; an error where there is none to replace."""
    names = {m: name for name, m in model.named_modules() if name and isinstance(m, types)}
    if not names:
        wanted = " or ".join(kind.__name__ for kind in types)
        raise ValueError(
            f"no {wanted} module in {type(model).__name__} "
            "(activations that are called as functions cannot be replaced)"
        )
    for module in held_elsewhere(model):
        if module in names:
            raise ValueError(
                f"{names[module]!r} is in an attribute, list, dict or tuple too, where it cannot "
                "be replaced"
            )
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if is_lazy(tensor):
            raise ValueError(f"{name!r} is still lazy: run the model once before")
    return names


def _learned(alpha: float, beta: float | None, sites: set[Site], like: Tensor) -> nn.Module:
    """An SPELU, or with a beta an MPELU, for all the sites that it is called at."""
    shared = Site(1, 1, like.device, like.dtype)
    channels, dim, device, dtype = next(iter(sites)) if len(sites) == 1 else shared
    if beta is None:
        return SPELU(channels, alpha, dim, device, dtype)
    return MPELU(channels, alpha, beta, dim, device, dtype)


def _leave_fast_paths(model: nn.Module, activations: Collection[nn.Module]) -> None:
    """Torch's transformer encoders have a fast path in evaluation, for ReLU and GELU alone."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer) and module.activation in activations:
            module.activation_relu_or_gelu = 0  # their code for any other activation
        if isinstance(module, nn.TransformerEncoder) and any(
            getattr(layer, "activation", None) in activations for layer in module.layers
        ):
            module.use_nested_tensor = False

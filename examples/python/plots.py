"""The two pictures of a run: how it went, and what its activations became."""

from pathlib import Path
from typing import NamedTuple

import torch
from files import written_aside
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor, nn

import mpelu

BLUE, ORANGE, GREY = "#2a6f97", "#e07a1f", "#8a8a8a"
DEPTH_COLORS = colormaps["viridis"]


def plot_curves(
    history: list[dict[str, float]],
    trace: list[tuple[float, float, float]],
    title: str,
    path: Path,
) -> None:
    """Draws loss and error over the epochs: of the training steps, and on the test set.

    Args:
        history: a row of log.csv per epoch.
        trace: epochs (a fraction), training loss and training error, at many moments.
        title: of the figure.
        path: the file to write.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle(title)
    epochs = [row["epoch"] for row in history]
    moments, *train_curves = zip(*trace, strict=True)
    for axes, name, train in zip(
        figure.subplots(1, 2), ("loss", "error"), train_curves, strict=True
    ):
        test = [row[f"test_{name}"] for row in history]
        last = f"{test[-1]:.3f}" if name == "loss" else f"{test[-1]:.2%}"
        axes.plot(moments, train, color=BLUE, linewidth=1.3, label="training")
        axes.plot(epochs, test, color=ORANGE, marker="o", markersize=5, label=f"test ({last})")
        axes.set(xlabel="epoch", ylabel=name, xlim=(0, epochs[-1] * 1.02))
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False)
        _style(axes)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _save(figure, path)


class Layer(NamedTuple):
    """An activation's parameters, 0-d or one per channel; no ``beta`` if it is fixed at 1."""

    alpha: Tensor
    beta: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """The activation at the mean of its parameters."""
        beta = torch.tensor(1.0) if self.beta is None else self.beta.mean()
        return mpelu.functional.mpelu(x, self.alpha.mean(), beta)


def plot_activations(model: nn.Module, start: Layer, title: str, path: Path) -> None:
    """Draws the learned alpha and beta of each layer, and the functions that they make.

    Args:
        model: a network; nothing is drawn if it has no MPELU or SPELU layer.
        start: alpha and beta before the training.
        title: of the figure.
        path: the file to write.
    """
    layers = _learned_layers(model)
    if not layers:
        return
    names = ["alpha"] if layers[0].beta is None else ["alpha", "beta"]
    figure = Figure(figsize=(4.2 * (len(names) + 1), 3.8), layout="constrained")
    figure.suptitle(title)
    *parameter_axes, function_axes = figure.subplots(1, len(names) + 1)
    for axes, name in zip(parameter_axes, names, strict=True):
        values = [getattr(layer, name) for layer in layers]
        _plot_parameter(axes, name, values, getattr(start, name).item())
    parameter_axes[-1].legend(frameon=False, fontsize="small")
    _plot_functions(function_axes, layers, start)
    colors = ScalarMappable(Normalize(1, len(layers)), DEPTH_COLORS)
    figure.colorbar(colors, ax=function_axes, label="layer", ticks=MaxNLocator(integer=True))
    _save(figure, path)


def _learned_layers(model: nn.Module) -> list[Layer]:
    """The MPELU or SPELU layers of a model, from its input to its output."""
    kinds = (mpelu.MPELU, mpelu.SPELU, mpelu.BatchNormMPELU2d)
    states = [m.state_dict() for m in model.modules() if isinstance(m, kinds)]
    names = Layer._fields  # a batch norm has more in its state
    return [Layer(*(state[name].cpu() for name in names if name in state)) for state in states]


def _plot_parameter(axes: Axes, name: str, values: list[Tensor], start: float) -> None:
    """Draws the channels' spread in each layer: all of them, the middle half, and the median."""
    layers = range(1, len(values) + 1)
    quantiles = torch.tensor([0, 0.25, 0.5, 0.75, 1])
    spread = torch.stack([v.quantile(quantiles) for v in values], 1)  # [5, layers]
    low, lower, median, upper, high = spread.numpy()
    band = {"color": BLUE, "linewidth": 0}
    axes.fill_between(layers, low, high, alpha=0.15, label="all channels", **band)
    axes.fill_between(layers, lower, upper, alpha=0.35, label="middle half", **band)
    axes.plot(layers, median, color=BLUE, marker="o", markersize=3.5, label="median")
    axes.axhline(start, color=ORANGE, linestyle="--", linewidth=1.3, label="before training")
    axes.set(xlabel="layer", title=f"learned {name}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _style(axes)


def _plot_functions(axes: Axes, layers: list[Layer], start: Layer) -> None:
    """Draws each layer's function, coloured by its depth."""
    x = torch.linspace(-4, 1, 251)
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.axvline(0, color=GREY, linewidth=0.6)
    for number, layer in enumerate(layers):
        color = DEPTH_COLORS(number / (len(layers) - 1))
        axes.plot(x, layer(x), color=color, linewidth=1.3)
    axes.plot(x, start(x), color=ORANGE, linestyle="--", linewidth=1.5)
    axes.set(xlabel="x", title="f(x) at each layer's means")
    _style(axes)


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)


def _save(figure: Figure, path: Path) -> None:
    with written_aside(path) as aside:
        figure.savefig(aside, dpi=150)

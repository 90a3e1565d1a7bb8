"""Trains an MPELU residual network on images, into runs/NAME/.

    python examples/python/train.py                       # two epochs, minutes on two cores
    python examples/python/train.py --data ~/cifar --depth 164 --epochs 164 --batch-size 128 \\
        --schedule step --weight-decay 1e-4
    python examples/python/train.py --resume runs/NAME    # goes on exactly where it stopped

runs/NAME/ holds log.csv (a row per epoch), checkpoint.pt, curves.png, activations.png and
summary.json. Ctrl-C saves the run at the step it is at. On the CPU, with the same number of
threads, a resumed run gives the same numbers as one that was never interrupted.
"""

import argparse
import csv
import json
import platform
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from textwrap import shorten
from typing import Any, NoReturn

import torch
import torchvision
from data import Images, load
from files import UserError, first_line, load_checkpoint, save, written_aside
from plots import Layer, plot_activations, plot_curves
from settings import Settings, number
from tqdm import tqdm
from trainer import Trainer

import mpelu

READ_EVERY = 10  # steps between looks at the loss, each of which waits for the device

#: What comes of a checkpoint that another version of this program wrote, or that was changed.
MISFITS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class Run:
    """A trainer and the folder that its results are written to."""

    def __init__(self, folder: Path, trainer: Trainer, images: Images) -> None:
        self.folder, self.trainer, self.images = folder, trainer, images

    def save_checkpoint(self) -> None:
        state = self.trainer.state_dict()
        save({**state, "images": _sizes(self.images)}, self.folder / "checkpoint.pt")

    def write_results(self) -> None:
        """Writes everything but the checkpoint, from what the trainer knows; log.csv comes last."""
        trainer, settings = self.trainer, self.trainer.settings
        with written_aside(self.folder / "summary.json") as path:
            path.write_text(json.dumps(self._summary(), indent=2) + "\n")
        title = f"{settings.activation}, depth {settings.depth}, {self.images.name}"
        plot_curves(trainer.history, trainer.trace, title, self.folder / "curves.png")
        start = Layer(torch.tensor(settings.alpha), torch.tensor(settings.beta))
        plot_activations(trainer.model, start, title, self.folder / "activations.png")
        with written_aside(self.folder / "log.csv") as path, open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, trainer.history[0])
            writer.writeheader()
            writer.writerows(trainer.history)

    def has_results(self) -> bool:
        """Whether these files tell of every epoch: a crash can come between checkpoint and them."""
        log = self.folder / "log.csv"
        return log.is_file() and len(log.read_text().splitlines()) == 1 + self.trainer.epoch

    def _summary(self) -> dict[str, Any]:
        trainer = self.trainer
        last = trainer.history[-1]
        return {
            "test_error": last["test_error"],
            "test_loss": last["test_loss"],
            "train_error": last["train_error"],
            "train_loss": last["train_loss"],
            "epochs": trainer.epoch,
            "finished": trainer.finished,
            "training_seconds": round(sum(row["seconds"] for row in trainer.history), 1),
            "parameters": sum(p.numel() for p in trainer.model.parameters()),
            "data": str(self.images),
            "settings": asdict(trainer.settings),
            "device": _describe(trainer.device),
            "threads": torch.get_num_threads(),
            "versions": {
                "mpelu": mpelu.__version__,
                "torch": torch.__version__,
                "torchvision": torchvision.__version__,
                "python": platform.python_version(),
            },
        }


def _sizes(images: Images) -> list[int]:
    return [*images.train_images.shape, len(images.test_images), images.classes]


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device} ({torch.backends.cpu.get_cpu_capability()})"


class Signals:
    """Notes the first SIGINT or SIGTERM; the second of a kind ends the program at once."""

    def __init__(self) -> None:
        self.received = 0

    @contextmanager
    def noted(self) -> Iterator[None]:
        before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.received = number
        signal.signal(number, signal.SIG_DFL)


def train(run: Run, signals: Signals) -> None:
    """Trains to the settings' last epoch, or until a signal came and a step is complete."""
    trainer = run.trainer
    while not trainer.finished:
        with _progress_bar(trainer) as bar:
            for _ in trainer.train_epoch():
                _show(bar, trainer)
                if signals.received:
                    return
            for _ in trainer.test_epoch():
                if signals.received:
                    return
        run.save_checkpoint()
        run.write_results()
        print(_epoch_line(trainer), flush=True)


def _progress_bar(trainer: Trainer) -> tqdm:
    size = trainer.settings.batch_size
    return tqdm(
        desc=f"epoch {trainer.epoch + 1}/{trainer.settings.epochs}",
        initial=trainer.step * size,
        total=trainer.steps * size,
        unit=" images",
        bar_format="{desc} {percentage:3.0f}% |{bar}| {rate_fmt}, {remaining} left{postfix}",
        leave=False,
        dynamic_ncols=True,
        mininterval=0.2 if sys.stderr.isatty() else 15,
    )


def _show(bar: tqdm, trainer: Trainer) -> None:
    if trainer.step % READ_EVERY == 0 or trainer.step == trainer.steps:
        loss, error = trainer.train_metrics()
        bar.set_postfix_str(f"loss {loss:.3f}, accuracy {1 - error:.1%}", refresh=False)
    bar.update(trainer.settings.batch_size)


def _epoch_line(trainer: Trainer) -> str:
    row = trainer.history[-1]
    return (
        f"epoch {trainer.epoch}/{trainer.settings.epochs}: "
        f"training loss {row['train_loss']:.4f}, error {row['train_error']:.2%}; "
        f"test loss {row['test_loss']:.4f}, error {row['test_error']:.2%}; "
        f"{row['images_per_second']:.0f} images/s, {row['seconds']:.0f} s"
    )


def start_run(settings: Settings, args: argparse.Namespace) -> Run:
    """A new run, in a folder of its own."""
    images = _load_images(settings)
    batch_size = settings.batch_size or (16 if images.name == "digits" else 64)
    settings = replace(settings, dataset=images.name, batch_size=batch_size)
    try:
        trainer = _make_trainer(settings, images, args)
    except ValueError as error:  # of the model, such as an impossible depth
        raise UserError(first_line(error)) from error
    run = Run(_new_folder(args, settings), trainer, images)
    run.save_checkpoint()
    print(f"run: {run.folder}", flush=True)
    return run


def resume_run(given: dict[str, Any], args: argparse.Namespace) -> Run:
    """An earlier run, where it stopped; its results are written if a crash came before them."""
    folder = _earlier_folder(args)
    path = folder / "checkpoint.pt"
    state = load_checkpoint(path)
    try:
        run = _restore(folder, state, given, args)
    except MISFITS as error:
        reason = shorten(f"{type(error).__name__}: {error}", 200)
        raise UserError(f"{path}: does not fit this program: {reason}") from error
    trainer = run.trainer
    place = f"from epoch {trainer.epoch + 1}, step {trainer.step + 1}"
    print(f"run: {folder}, {'complete' if trainer.finished else place}", flush=True)
    if trainer.finished and not run.has_results():
        run.write_results()
    return run


def _restore(
    folder: Path, state: dict[str, Any], given: dict[str, Any], args: argparse.Namespace
) -> Run:
    """A saved run. Settings that are ``given`` must be what they were; its data may have moved."""
    settings = Settings(**state["settings"])
    settings = replace(settings, data=given.get("data", settings.data))
    differing = [
        f"{_flag(name)} {value} (it was {getattr(settings, name)})"
        for name, value in given.items()
        if value != getattr(settings, name) and (name, value) != ("dataset", "auto")
    ]
    if differing:
        raise UserError(f"{folder} cannot be resumed with {', '.join(differing)}")
    images = _load_images(settings)
    if _sizes(images) != state["images"]:
        raise UserError(f"{folder} was trained on other data: {state['images']}, {_sizes(images)}")
    trainer = _make_trainer(settings, images, args)
    trainer.load_state_dict(state)
    return Run(folder, trainer, images)


def _load_images(settings: Settings) -> Images:
    images = load(settings.dataset, Path(settings.data) if settings.data else None)
    print(f"data: {images}")
    return images


def _make_trainer(settings: Settings, images: Images, args: argparse.Namespace) -> Trainer:
    return Trainer(settings, images, args.device or _default_device(), args.recompute)


def _default_device() -> torch.device:
    """The GPU, where torch sees one and mpelu was built with CUDA."""
    has_cuda = torch.cuda.is_available() and mpelu.build_info()["cuda"]
    return torch.device("cuda" if has_cuda else "cpu")


def _new_folder(args: argparse.Namespace, settings: Settings) -> Path:
    """The folder called --name, or the first free one of a name made from the settings."""
    name = args.name or f"{settings.dataset}-{settings.activation}-{settings.depth}"
    folder, number = args.runs_dir / name, 1
    while folder.exists():
        if args.name:
            raise UserError(f"{folder} exists; --resume goes on with it, or choose another --name")
        number += 1
        folder = args.runs_dir / f"{name}-{number}"
    folder.mkdir(parents=True)
    return folder


def _earlier_folder(args: argparse.Namespace) -> Path:
    """The run that --resume names, else the one that --name does, else the latest."""
    if args.resume:
        return Path(args.resume)
    if args.name:
        return args.runs_dir / args.name
    checkpoints = args.runs_dir.glob("*/checkpoint.pt")
    latest = max(checkpoints, key=lambda path: path.stat().st_mtime, default=None)
    if latest is None:
        raise UserError(f"{args.runs_dir}: there is no run to resume")
    return latest.parent


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (--help lists the options)\n")


def _flag(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


def _device(text: str) -> torch.device:
    kind = text.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise argparse.ArgumentTypeError(f"expected cpu or cuda, got {text}")
    if kind == "cuda" and not mpelu.build_info()["cuda"]:
        raise argparse.ArgumentTypeError(f"{text}: mpelu was built without CUDA")
    try:
        return torch.empty(0, device=text).device
    except (RuntimeError, AssertionError) as error:
        raise argparse.ArgumentTypeError(f"{text}: {first_line(error)}") from error


def _name(text: str) -> str:
    if Path(text).name != text or text in ("", ".."):
        raise argparse.ArgumentTypeError(f"expected a folder's name without a path, got {text!r}")
    return text


def parse(arguments: list[str] | None) -> tuple[dict[str, Any], argparse.Namespace]:
    """Returns the settings that were given, and all options."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = OneLineParser(description=__doc__, formatter_class=raw, allow_abbrev=False)
    decisive = parser.add_argument_group("settings (they decide a run's numbers)")
    for setting in fields(Settings):
        options = dict(setting.metadata)
        if setting.default is not None and setting.default is not False:
            options["help"] += f" (default: {setting.default})"
        decisive.add_argument(_flag(setting.name), default=argparse.SUPPRESS, **options)
    parser.add_argument(
        "--name", type=_name, help="of the run (default: from data, activation and depth)"
    )
    parser.add_argument(
        "--runs-dir", type=Path, default=Path("runs"), help="where runs are (default: runs)"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="go on with the run in this folder; without one, with --name or the latest run",
    )
    parser.add_argument(
        "--device", type=_device, help="cpu or cuda (default: cuda where torch and mpelu have it)"
    )
    parser.add_argument(
        "--threads", type=number(int, 1, 1024), help="CPU threads (default: torch's choice)"
    )
    parser.add_argument(
        "--recompute",
        action="store_true",
        help="compute activations again in the backward: the same numbers with less memory",
    )
    args = parser.parse_args(arguments)
    names = {setting.name for setting in fields(Settings)}
    return {name: value for name, value in vars(args).items() if name in names}, args


def _resume_command(folder: Path, args: argparse.Namespace) -> str:
    """What goes on as ``args`` said, which the checkpoint does not hold."""
    command = [sys.executable, sys.argv[0], "--resume", str(folder)]
    if args.device:
        command += ["--device", str(args.device)]
    if args.threads:
        command += ["--threads", str(args.threads)]
    if args.recompute:
        command.append("--recompute")
    return shlex.join(command)


def main(arguments: list[str] | None = None) -> int:
    given, args = parse(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    signals = Signals()
    try:
        run = start_run(Settings(**given), args) if args.resume is None else resume_run(given, args)
        with signals.noted():
            train(run, signals)
            if not run.trainer.finished:
                run.save_checkpoint()
                print(f"stopped; go on with: {_resume_command(run.folder, args)}")
                return 128 + signals.received
    except KeyboardInterrupt:
        print("stopped before the training began", file=sys.stderr)
        return 128 + signal.SIGINT
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"test error {run.trainer.history[-1]['test_error']:.2%}; results in {run.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

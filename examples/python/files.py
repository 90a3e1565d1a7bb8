"""Errors for the user, and files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


class UserError(Exception):
    """Something that the user can put right; shown as one line, without a traceback."""


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Gives a path beside ``path`` to write to; when the block ends well, it replaces ``path``.

    A reader, or the next run after a crash, finds the old file or the new one, never half of one.
    The name keeps its suffix, from which matplotlib tells the format.
    """
    aside = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield aside
        with open(aside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)


def save(content: dict[str, Any], path: Path) -> None:
    """``torch.save`` through :func:`written_aside`."""
    with written_aside(path) as aside:
        try:
            torch.save(content, aside)
        except RuntimeError as error:  # how torch reports a full disk or a missing folder
            raise UserError(f"{path}: cannot be written: {first_line(error)}") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads what :func:`save` wrote, onto the CPU.

    Raises:
        UserError: naming ``path``, if it is missing or damaged.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no checkpoint to resume from")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged zip or pickle raises almost anything
        what = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"{path}: the checkpoint is damaged: {what}") from error
    if not isinstance(state, dict) or "settings" not in state:
        raise UserError(f"{path}: this is no checkpoint of a run")
    return state


def first_line(error: Exception) -> str:
    """An error's message without what follows its first line."""
    return (str(error) or type(error).__name__).splitlines()[0]

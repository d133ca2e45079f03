"""Where a command's result goes: what can be refused before the work starts, and how wide the place is."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from rankrl.errors import ConfigError

STDOUT = "-"
"""The name that stands for standard output."""


def check_output(option: str, name: str, *, reads: Iterable[str] = ()) -> None:
    """Nothing, if the file can be written; asked before minutes or hours are spent on what goes into it.

    reads: the files that the command reads; none of them is replaced by its result. A pipe or a device is left alone.

    Raises:
        ConfigError: naming the option: a folder, one of the files to read, or a place where nothing may be written.
    """
    path = Path(name)
    if path.is_dir():
        raise ConfigError(f"{option} {name} is a folder; give the name of a file to write")
    if path.exists() and not path.is_file():
        return
    for given in reads:
        if path.exists() and Path(given).exists() and path.samefile(given):
            raise ConfigError(f"{option} {name} is one of the files to read; give another name")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(f"{option} {name} cannot be written: {folder} is not a folder that you may write to")


def columns(output: str | None) -> int | None:
    """How many columns the terminal has on which the result will be read; None where it goes to a file or a pipe."""
    return shutil.get_terminal_size().columns if output in (None, STDOUT) and sys.stdout.isatty() else None

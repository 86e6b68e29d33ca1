"""Commands that pack datasets anew, stored in another way."""

import itertools
import shlex
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

from penstock.cli.info.roles import Roles, python_call


class Rewrite(NamedTuple):
    """Datasets of one length, and how to store them.

    Attributes:
        names: The datasets.
        compression: As `pack` takes it; None for values as they are.
        chunk: Bytes that a compressed chunk has of the largest one.
    """

    names: tuple[str, ...]
    compression: str | None = None
    chunk: int | None = None

    def command(self, path: str, target: str, roles: Roles | None) -> tuple[str, str]:
        """The language of a command that packs them, and the command.

        Args:
            path: The file that they are in.
            target: The file to write.
            roles: Which of them are likely x and y.
        """
        y, weight = (roles.y, roles.sample_weight) if roles else (None, None)
        x = [name for name in self.names if name not in (y, weight)]
        if not all(map(_is_option, (path, target, *self.names))):
            fields = {"x": x if len(x) > 1 else x[0], "y": y, "sample_weight": weight}
            data = python_call("ps.from_hdf5", repr(path), **fields)
            form = {"compression": self.compression, "chunk": self.chunk}
            return "python", python_call("ps.pack", data, repr(target), **form)
        options: list[tuple[str, str | int | None]] = [("--x", name) for name in x]
        options += [("--y", y), ("--sample-weight", weight)]
        options += [("--compression", self.compression), ("--chunk", self.chunk)]
        words = [f"./{file}" if file.startswith("-") else file for file in (path, target)]
        for option, value in options:
            if value is not None:
                text = str(value)
                words += [f"{option}={text}"] if text.startswith("-") else [option, text]
        return "shell", shlex.join(["penstock", "pack", *words])


def _is_option(name: str) -> bool:
    """Whether any terminal shows it, and `--x` takes it: that parts names at commas."""
    return name.isascii() and name.isprintable() and "," not in name and name == name.strip()


def free_name(path: str, suffix: str, taken: Container[str] = ()) -> str:
    """A name beside `path` that no file has, and that is not taken."""
    file = Path(path)
    for number in itertools.count(1):
        name = f"{file.stem}-{suffix}{number if number > 1 else ''}{file.suffix}"
        free = str(file.with_name(name))
        if free not in taken and not file.with_name(name).exists():
            break
    return free

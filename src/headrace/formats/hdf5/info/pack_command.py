"""The `headrace pack` command that stores datasets in a better way."""

import itertools
import shlex
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

from headrace.errors import printable, some_of
from headrace.formats.hdf5.info.fields import READER
from headrace.formats.roles import Roles, python_call
from headrace.sources.hdf5.survey import Survey


class Rewrite(NamedTuple):
    """Datasets that belong in one new file, and how to store them there.

    Attributes:
        names: The datasets.
        compression: As `pack` takes it; None for values as they are.
        chunk: Bytes of a chunk of the largest dataset before compression; None for no choice.
        end: The row to stop before; None for the end of the data.
    """

    names: tuple[str, ...]
    compression: str | None = None
    chunk: int | None = None
    end: int | None = None

    def command(self, path: str, target: str, roles: Roles | None) -> tuple[str, str]:
        """The language of a command that packs them, and the command.

        Args:
            path: The file that they are in.
            target: The file to write.
            roles: Which of them are likely x and y; without them, all are x.
        """
        x = [roles.x] if roles else list(self.names)
        y, weight = (roles.y, roles.sample_weight) if roles else (None, None)
        kept = [name for name in self.names if name not in (*x, y, weight)]
        form = {"compression": self.compression, "chunk": self.chunk}
        if not (all(map(_is_option, self.names)) and _is_word(path) and _is_word(target)):
            parts = {"x": x if len(x) > 1 else x[0], "y": y, "sample_weight": weight}
            read = {**parts, "x": [*x, *kept]} if kept else parts
            data = python_call(READER, repr(path), **read, end=self.end)
            said = parts if kept else {}
            return "python", python_call("hr.pack", data, repr(target), **said, **form)
        options: list[tuple[str, str | int | None]] = [("--x", name) for name in x]
        options += [("--y", y), ("--sample-weight", weight)]
        options += [("--keep", name) for name in kept]
        options += [("--end", self.end), *((f"--{name}", value) for name, value in form.items())]
        words = [f"./{file}" if file.startswith("-") else file for file in (path, target)]
        for option, value in options:
            if value is not None:
                text = str(value)
                words += [f"{option}={text}"] if text.startswith("-") else [option, text]
        return "shell", shlex.join(["headrace", "pack", *words])


def left_behind(survey: Survey, rewrite: Rewrite) -> str:
    """A sentence that names what the new file will not have; "" if it has everything."""
    everything = [item.name for item in survey.everything() if item.kind == "dataset"]
    others = [name for name in everything if name not in rewrite.names]
    left = [some_of([printable(name) for name in others])] * bool(others)
    if rewrite.end is not None:
        left.append(f"rows from {rewrite.end:,} on")
    if not survey.complete:
        left.append("what was not looked at (--limit)")
    return f" The new file does not have {', and not '.join(left)}." if left else ""


def _is_option(name: str) -> bool:
    """Whether `--x` takes a name as it is: the option splits at commas, and strips spaces."""
    return _is_word(name) and "," not in name and name == name.strip()


def _is_word(text: str) -> bool:
    """Whether every terminal can show a text."""
    return text.isascii() and text.isprintable()


def free_name(path: str, suffix: str, taken: Container[str] = ()) -> str:
    """A file name in the folder of `path` that does not exist and is not in `taken`."""
    file = Path(path)
    for number in itertools.count(1):
        name = f"{file.stem}-{suffix}{number if number > 1 else ''}{file.suffix}"
        free = str(file.with_name(name))
        if free not in taken and not file.with_name(name).exists():
            break
    return free

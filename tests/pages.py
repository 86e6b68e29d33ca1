"""Runs what a page of the documentation shows, and makes the files that the pages read.

Python blocks (```python) run from top to bottom in one session. Terminal blocks (```console) hold
commands, `$ headrace ...`, and their output: a command must succeed, and print what is shown, where
`...` stands for anything. Blocks of old code (```py) and shell commands (```sh) do not run.

`python -m tests.pages docs/info.md` prints what the commands of a page print now.
"""

import contextlib
import doctest
import io
import re
import shlex
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd
from PIL import Image

from headrace.cli import main

ROOT = Path(__file__).parents[1]


class Block(NamedTuple):
    """A fenced block: its language, its text, and the line of the page on which the text starts."""

    language: str
    text: str
    line: int


class Command(NamedTuple):
    """A command of a console block, and the output that the page shows for it."""

    arguments: list[str]
    output: str


def blocks(text: str, language: str | None = None) -> list[Block]:
    """The fenced blocks of a text; all, or those in one language."""
    found = []
    for match in re.finditer(r"^( *)```(\w+)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, match.start(3)) + 1
        found.append(Block(match[2], textwrap.dedent(match[3]), line))
    return [block for block in found if language in (None, block.language)]


def section(text: str, heading: str) -> str:
    """A page without its other sections: what stands before the first one, and this one."""
    beginning, *sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    [chosen] = [one for one in sections if one.startswith(f"## {heading}\n")]
    return beginning + chosen


def run(text: str, name: str, session: dict[str, object] | None = None) -> dict[str, object]:
    """Runs all blocks of a page in the current folder, and gives the names that they defined."""
    session = {} if session is None else session
    for block in blocks(text):
        if block.language == "python":
            # The blank lines give a traceback the line numbers of the page.
            exec(compile("\n" * (block.line - 1) + block.text, name, "exec"), session)
        elif block.language == "console":
            for command in commands(block.text):
                check(command, name)
    return session


def commands(text: str) -> Iterator[Command]:
    """The commands of a console block."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        typed, _, output = part.replace("\\\n", " ").partition("\n")
        program, *arguments = shlex.split(typed, comments=True)
        assert program == "headrace", f"Only headrace runs in console blocks, not {typed!r}"
        yield Command(arguments, output)


def output_of(arguments: list[str]) -> str:
    """What `headrace` prints; fails if it does not succeed."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    out.seek(0)
    err.seek(0)
    assert code == 0, f"headrace {shlex.join(arguments)} gave {code}: {err.read()}"
    return out.read()


def check(command: Command, name: str) -> None:
    """Makes sure that a command prints what its page shows."""
    got, shown = comparable(output_of(command.arguments)), comparable(command.output)
    same = doctest.OutputChecker().check_output(shown, got, doctest.ELLIPSIS)
    assert same, f"{name} shows for headrace {shlex.join(command.arguments)}:\n{shown}\nnot:\n{got}"


def comparable(text: str) -> str:
    """An output without sizes, as those of compressed data depend on the compressor's version."""
    text = re.sub(r" *[\d.]+ [kM]?B( \(\d+%\))?", " SIZE", text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"


def make_files(folder: Path, page: str = "") -> None:
    """Makes the files that a page reads: cats.h5, and others under the names that pages use."""
    (MAKERS.get(page) or make_all_files)(folder)


def make_all_files(folder: Path) -> None:
    """Files of 1,500 images with small fields beside them."""
    rng = np.random.default_rng(0)
    (folder / "shards").mkdir()
    for name in ("cats.h5", "2023.h5", "2024.h5", "shards/1.h5", "shards/2.h5"):
        with h5py.File(folder / name, "w") as file:
            image = rng.integers(0, 256, (1500, 32, 32, 3), np.uint8)
            file.create_dataset("image", data=image, chunks=(64, 32, 32, 3), compression="gzip")
            file["label"] = rng.integers(0, 2, 1500)
            file["weight"] = np.ones(1500, np.float32)
            file["meta/age"] = rng.random(1500) * 80
            file["user_id"] = np.arange(1500) // 15
            file["part"] = np.array([b"train"] * 1200 + [b"val"] * 300)
            file["fold"] = np.arange(1500) // 15 % 3
    (folder / "logs").mkdir(exist_ok=True)
    for name in ("logs/1.csv", "logs/2.csv"):
        rows = (f"{a:.3f},{b:.3f},{a > b:d}" for a, b in rng.normal(size=(200, 2)))
        (folder / name).write_text("\n".join(["speed,wind,clear", *rows]) + "\n")
        pd.read_csv(folder / name).to_parquet((folder / name).with_suffix(".parquet"))
    with h5py.File(folder / "jets.h5", "w") as file:
        file["jets"] = np.zeros(100, [("pt", "f4"), ("mass", "f4"), ("tag", "i1")])


def make_sorted_cats(folder: Path) -> None:
    """2,000 images sorted by class, with nothing else beside them."""
    rng = np.random.default_rng(0)
    with h5py.File(folder / "cats.h5", "w") as file:
        image = rng.normal(128, 30, (2000, 32, 32, 3)).clip(0, 255).astype(np.uint8)
        file.create_dataset("image", data=image, chunks=(64, 32, 32, 3), compression="gzip")
        file["label"] = np.repeat([0, 1], [1185, 815])
        file["label"].attrs["class_names"] = ["cat", "dog"]


def make_old_data(folder: Path) -> None:
    """What the loaders of tutorials read: tables, folders of pictures, a file for each sample."""
    make_all_files(folder)
    rng = np.random.default_rng(0)
    (folder / "logs").mkdir(exist_ok=True)
    for number in range(2):
        rows = rng.random((50, 4))
        lines = [",".join(f"{v:.3f}" for v in row) + f",{i % 2}" for i, row in enumerate(rows)]
        (folder / "logs" / f"{number}.csv").write_text("\n".join(["a,b,c,d,clear", *lines]))
    for name, count in (("photos", 64), ("folders/cat", 10), ("folders/dog", 10)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    (folder / "samples").mkdir()
    for number in range(64):
        np.save(folder / "samples" / f"{number}.npy", rng.integers(0, 256, (32, 32, 3), np.uint8))


MAKERS = {
    "info.md": make_sorted_cats,
    "stats.md": make_sorted_cats,
    "migrate.md": make_old_data,
    "from-sequence.md": make_old_data,
}

if __name__ == "__main__":
    page = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        make_files(Path(scratch), page.name)
        for console in blocks(page.read_text("utf-8"), "console"):
            for one in commands(console.text):
                print(f"$ headrace {shlex.join(one.arguments)}\n{output_of(one.arguments)}")

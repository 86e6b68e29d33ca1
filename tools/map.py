"""Writes `docs/map.md`: the first docstring line of every file of the package.

`make map` runs it. A test checks that the page is the output of `make_map`.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "headrace"
PAGE = ROOT / "docs" / "map.md"

BEGINNING = """\
# Map of files

Every file of the package, with the first line of its docstring. `make map` writes this page;
[ARCHITECTURE.md](../ARCHITECTURE.md) says how the folders depend on each other.
"""


def make_map() -> str:
    """The text of the page: a section for each folder, a table row for each file."""
    sections = [BEGINNING]
    for folder in _folders():
        name = folder.relative_to(PACKAGE.parent).as_posix()
        rows = [f"| `{file.name}` | {summary_of(file)} |" for file in _files_of(folder)]
        table = ["", "| file | what is in it |", "|---|---|", *rows] if rows else []
        sections.append("\n".join([f"## {name}", "", summary_of(folder / "__init__.py"), *table]))
    return "\n\n".join(section.strip() for section in sections) + "\n"


def summary_of(file: Path) -> str:
    """The first line of a module's docstring.

    Raises:
        ValueError: If the module has no docstring.
    """
    docstring = ast.get_docstring(ast.parse(file.read_text("utf-8")))
    if not docstring:
        raise ValueError(f"{file} needs a docstring: its first line is shown in docs/map.md.")
    return docstring.splitlines()[0]


def _folders() -> Iterator[Path]:
    yield PACKAGE
    yield from sorted(init.parent for init in PACKAGE.rglob("*/__init__.py"))


def _files_of(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.py") if file.name != "__init__.py")


if __name__ == "__main__":
    PAGE.write_text(make_map(), "utf-8")

"""PyTables and pandas: indexes of tables, and data frames in blocks of columns."""

from collections.abc import Iterator

from headrace.errors import HeadraceError
from headrace.formats.advice import Advice
from headrace.formats.hdf5.info.conventions.finding import (
    Finding,
    below,
    from_hdf5,
    names_of,
    shape_of,
)
from headrace.formats.roles import is_label
from headrace.sources.hdf5.marks import first_values
from headrace.sources.hdf5.survey import Found, Survey

_IMPORT = "import headrace as hr\n\n"

_INDEXES = ("INDEX", "TINDEX")

_MOST_COLUMNS = 10_000

_NUMBERS = ("bool", "int", "uint", "float")


def indexes(path: str, survey: Survey) -> Iterator[Finding]:  # noqa: ARG001
    """The indexes of tables: groups of arrays that only PyTables understands."""
    for group in survey.groups():
        inside = [item.marks.get("CLASS") for item in group.children]
        are_indexes = inside and all(mark in _INDEXES for mark in inside)
        if group.marks.get("CLASS") in _INDEXES or are_indexes:
            folded = {group.name: "an index of PyTables"}
            yield Finding(None, names_of(below(group)), folded, answered=False)


def tables(path: str, survey: Survey) -> Iterator[Finding]:
    """Tables, of pandas or others, with a column that is called as a label is."""
    for item in survey.datasets():
        members = item.storage.members if item.storage else {}
        usable = [name for name, kind in members.items() if kind.startswith(_NUMBERS)]
        labels = [name for name in usable if is_label(name)]
        others = [name for name in usable if name not in labels and not _is_index(item, name)]
        if len(labels) != 1 or not others or item.error or not shape_of(item):
            continue
        named = [f"{item.name}[{name!r}]" for name in (labels[0], *others)]
        x: str | list[str] = named[1:] if len(others) > 1 else named[1]
        code = from_hdf5(path, x=x, y=named[0])
        text = "Each row of this table is a sample, and each of its columns a field."
        if len(others) > 1:
            code = (
                f"import numpy as np\n{_IMPORT}{code}\n"
                "data = data.map(lambda x, y: (np.column_stack(x), y))"
            )
            text += " This makes one matrix of the columns, in a type that holds them all:"
        else:
            code = f"{_IMPORT}{code}"
        yield Finding(Advice("table", (item.name,), text, "python", code))


def frames(path: str, survey: Survey) -> Iterator[Finding]:
    """Data frames that pandas wrote with format="fixed": columns of one type side by side."""
    for group in survey.groups():
        if group.marks.get("pandas_type") != "frame":
            continue
        inside = {item.leaf: item for item in group.children}
        blocks = [item for item in group.children if _is_block(item)]
        text = "This is a data frame of pandas: a row is a sample, and columns of one type are "
        text += "side by side in a block."
        if not blocks:
            text += " It has no block of numbers."
            yield Finding(Advice("data-frame", (group.name,), text), names_of(below(group)))
            continue
        x = max(blocks, key=lambda item: shape_of(item)[1])
        columns = {item.name: _columns(path, inside, item) for item in blocks}
        labels = [(b, c) for b in blocks for c, n in enumerate(columns[b.name]) if is_label(n)]
        hidden = names_of(below(group)) - names_of(blocks)
        block, column = labels[0] if len(labels) == 1 else (x, -1)
        code = _frame(path, x.name, block.name, column)
        names = list(dict.fromkeys([x.name, block.name]))
        yield Finding(Advice("data-frame", tuple(names), text, "python", code), hidden)


def _frame(path: str, x: str, block: str, column: int) -> str:
    """Code that reads a block of columns, with column number `column` of a block as y."""
    if column < 0:
        return _IMPORT + from_hdf5(path, x=x)
    if x != block:
        read = from_hdf5(path, x=x, y=block)
        return f"{_IMPORT}{read}\ndata = data.map(lambda x, y: (x, y[:, {column}]))"
    return (
        f"import numpy as np\n{_IMPORT}{from_hdf5(path, x=x)}\n"
        f"data = data.map(lambda x: (np.delete(x, {column}, axis=1), x[:, {column}]))"
    )


def _is_block(item: Found) -> bool:
    """Whether it holds the values of columns of numbers."""
    named = item.leaf.startswith("block") and item.leaf.endswith("_values")
    numbers = item.storage is not None and item.storage.is_number and not item.error
    return named and numbers and len(shape_of(item)) == 2


def _columns(path: str, inside: dict[str, Found], block: Found) -> list[str]:
    """The names of the columns in a block; none where they cannot be read."""
    items = inside.get(block.leaf.removesuffix("_values") + "_items")
    if items is None or not shape_of(items):
        return []
    try:
        return [str(name) for name in first_values(path, items.name, _MOST_COLUMNS)]
    except HeadraceError:
        return []


def _is_index(table: Found, name: str) -> bool:
    """Whether a column is the index that pandas keeps beside the data."""
    return name == "index" and (table.leaf == "table" or "pandas_type" in table.marks)

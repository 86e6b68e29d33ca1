"""The description of a file as lines of text for a terminal."""

import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from headrace.errors import printable
from headrace.formats import Description
from headrace.resources import format_bytes

_MIN_TOTAL_WIDTH = 60
_GAP = "  "

_HEADS = ("", "shape", "type", "in memory", "in file")
_MAX_WIDTHS = (40, 30, 14, 12, 16)
"""Maximum width of each column, in characters."""

_MIN_WIDTHS = (14, 12, 8, 9, 9)

_MAX_SHOWN = 20
"""Maximum number of pieces of advice that are shown separately if one command fixes them all."""


class _Strokes(NamedTuple):
    """The characters that draw a tree."""

    branch: str
    last: str
    down: str
    nothing: str = "   "
    cut: str = "…"


_LINES = _Strokes("├─ ", "└─ ", "│  ")
_PLAIN = _Strokes("|- ", "`- ", "|  ", cut="~")


class _Row(NamedTuple):
    """A line of the tree with its cells, and detail lines below it."""

    cells: tuple[str, ...]
    details: list[tuple[str, str]]
    indent: str


def to_text(found: Description, width: int, encoding: str | None) -> str:
    """The description of a file, in lines of at most `width` columns; commands are not cut.

    Names from the file may contain any character. Characters that a terminal cannot print are
    escaped as in Python source.

    Args:
        found: The description.
        width: Width of the terminal, in columns.
        encoding: Encoding of the terminal. Characters that it lacks are escaped as well.
    """
    width = max(width, _MIN_TOTAL_WIDTH)
    strokes = _LINES if _shows(encoding, "".join(_LINES)) else _PLAIN
    known = found.document
    lines = [
        *_head(found, width),
        "",
        *_tree(known, width, strokes),
        "",
        *_legend(found.legend, width),
        *_advice(known, width),
        *_next(known),
    ]
    text = "\n".join(printable(line).rstrip() for line in lines)
    used = encoding or "utf-8"
    return text.encode(used, "backslashreplace").decode(used)


# The file and its tree.


def _head(found: Description, width: int) -> Iterator[str]:
    known = found.document
    yield f"{known['file']}: {format_bytes(known['bytes'])}, {found.summary}"
    if not known["complete"]:
        yield "  among the objects up to --limit"
    root = known["objects"][0]
    yield from _wrap("  has ", _attributes(root), width)
    yield from _wrap("  ", root["problem"] or "", width)


def _tree(known: Mapping[str, Any], width: int, strokes: _Strokes) -> Iterator[str]:
    root, *others = known["objects"]
    below: dict[str, list[Any]] = {}
    for item in others:
        below.setdefault(_parts(item)[0], []).append(item)
    rows = list(_rows(root, below, "", strokes))
    if not rows:
        yield "The file is empty."
        return
    columns = _columns([row.cells for row in rows if row.cells[1:]], width)
    if any(row.cells[1:] for row in rows):
        yield _line(_HEADS, columns, strokes.cut)
    for row in rows:
        if row.cells[1:]:
            yield _line(row.cells, columns, strokes.cut)
        else:
            yield _shorten(row.cells[0], width, strokes.cut)
        for label, text in row.details:
            start = f"{row.indent}{label:<7}" if label else row.indent
            yield from _wrap(start, text, width, row.indent + " " * (len(start) - len(row.indent)))


def _rows(
    group: Mapping[str, Any], below: Mapping[str, Sequence[Any]], indent: str, strokes: _Strokes
) -> Iterator[_Row]:
    """The lines for the members of a group."""
    children = [] if group["content"] else below.get(group["name"], [])
    hidden = Counter(item["alike"] for item in children if item["alike"] != item["name"])
    children = [item for item in children if item["alike"] in (None, item["name"])]
    said: list[tuple[str, str]] = []
    more = group["objects"] - group["listed"]
    for number, item in enumerate(children):
        last = number == len(children) - 1 and not more
        further = indent + (strokes.nothing if last else strokes.down)
        name = indent + (strokes.last if last else strokes.branch)
        name += printable(_parts(item)[1])
        row = _row(name, item, further)
        if item["kind"] == "column":
            # Columns of a table are read alike: one of them says how.
            said, row = row.details, row._replace(details=[d for d in row.details if d not in said])
        yield row
        if item["kind"] == "group":
            yield from _rows(item, below, further, strokes)
        if hidden[item["name"]]:
            text = f"{further}   and {hidden[item['name']]:,} more like it (--json shows them)"
            yield _Row((text,), [], "")
    if children and more:
        yield _Row((f"{indent}{strokes.last}and {more:,} more (--limit shows more)",), [], "")


def _parts(item: Mapping[str, Any]) -> tuple[str, str]:
    """The group that an object is in, and its name there; a table has no groups."""
    group, _, name = item["name"].rpartition("/")
    return ("", item["name"]) if item["kind"] == "column" else (group, name)


def _row(name: str, item: Mapping[str, Any], indent: str) -> _Row:
    """The lines for one object."""
    details = []
    # Objects without samples take one line.
    brief = item.get("field") is False or bool(item.get("content"))
    if item["kind"] == "group":
        number = item["objects"]
        name += f"/  {number:,} object{'s' * (number != 1)}"
        name += ", not listed" * (number > 0 and not item["listed"])
        name += f": {item['content']}" * bool(item["content"])
    if item["kind"] in ("link", "type"):
        name += f"  ({printable(item['note'] or 'a named type')})"
    elif item["note"]:
        details.append(("", item["note"]))
    problem = item["problem"]
    if problem and (item["damaged"] or not brief):
        # Problems that start with a verb follow the dataset's name, which this line does not show.
        said = f"it {problem}" if problem[0].islower() else problem
        details.append(("", said if item["damaged"] else f"cannot be used: {said}"))
    cells: tuple[str, ...] = (name,)
    if item.get("dtype"):
        cells, more = _dataset(name, item)
        details += more if not brief else []
    if not brief:
        details += [("parts", _members(item)), ("has", _attributes(item))]
    return _Row(cells, [(label, text) for label, text in details if text], f"{indent}  ")


def _dataset(name: str, item: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, str]]]:
    stored, decoded, filters = item["stored_bytes"], item["decoded_bytes"], item.get("filters")
    in_file = "" if stored is None else format_bytes(stored)
    if filters and item["ratio"] is not None:
        in_file += f" ({item['ratio']:.0%})" if item["ratio"] >= 0.01 else " (<1%)"
    dtype = f"{item['dtype']}, gaps" if item.get("missing") else item["dtype"]
    shape = "no data" if item["shape"] is None else str(tuple(item["shape"]))
    in_memory = "" if decoded is None else format_bytes(decoded)
    details = []
    if item["path"]:
        details = [("stored", item["stored"]), ("read", f"{item['path']}: {item['reason']}")]
    return (name, shape, printable(dtype), in_memory, in_file), details


def _members(item: Mapping[str, Any]) -> str:
    """The members of compound values, with an example of how to use one as a field."""
    members = list(item.get("members", {}).items())
    if not members:
        return ""
    shown = [f"{name} {dtype}" for name, dtype in members[:_MAX_SHOWN]]
    more = f", and {len(members) - _MAX_SHOWN} more" if len(members) > _MAX_SHOWN else ""
    return f"{', '.join(shown)}{more}; a field by itself, such as {item['name']}[{members[0][0]!r}]"


def _attributes(item: Mapping[str, Any]) -> str:
    return "; ".join(f"{name} = {text}" for name, text in item["attributes"].items())


def _legend(words: Mapping[str, str], width: int) -> Iterator[str]:
    """Explanations of the words in the tree above."""
    size = max(map(len, words), default=0)
    for word, text in words.items():
        yield from _wrap(f"{word:<{size}}{_GAP}", text, width)
    if words:
        yield ""


# Advice, and how to open the file.


def _advice(known: Mapping[str, Any], width: int) -> Iterator[str]:
    memory, batch_size = format_bytes(known["setting"]["memory"]), known["setting"]["batch_size"]
    found = known["advice"]
    judged = f"batches of {batch_size} and {memory} of memory (--batch-size, --memory)"
    if not found:
        yield from _wrap("", f"No advice: nothing to improve for {judged}.", width)
        yield ""
        return
    yield from _wrap("", f"Advice for {judged}:", width)
    yield ""
    groups: dict[Any, list[Any]] = {}
    for one in found:
        # Advice without a command is grouped by its kind.
        groups.setdefault((one["language"], one["command"] or one["kind"]), []).append(one)
    number = 0
    for (language, command), ones in groups.items():
        first = number + 1
        for one in ones[:_MAX_SHOWN]:
            number += 1
            yield from _item(number, one, width)
        if len(ones) > _MAX_SHOWN:
            number = first + len(ones) - 1
            yield f"   and {len(ones) - _MAX_SHOWN:,} more (--json has them)"
        if language:
            span = f" (for {first} to {number} together)" if number > first else ""
            yield f"   {'In Python' if language == 'python' else 'In a shell'}{span}:"
            yield ""
            yield from command.splitlines()
        yield ""


def _item(number: int, one: Mapping[str, Any], width: int) -> Iterator[str]:
    names = ", ".join(
        _shorten(printable(name), _MAX_WIDTHS[0], "...") for name in one["datasets"][:3]
    )
    more = ", ..." * (len(one["datasets"]) > 3)
    yield from _wrap("", f"{number}. {names}{more}: {one['kind'].replace('-', ' ')}", width, "   ")
    yield from _wrap("   ", one["text"], width)


def _next(known: Mapping[str, Any]) -> Iterator[str]:
    if known["next"]:
        yield f"To use the file, in Python{' or in a shell' * bool(known['next']['shell'])}:"
        yield ""
        yield f"data = {known['next']['python']}"
        if known["next"]["shell"]:
            yield known["next"]["shell"]


# Columns.


def _columns(rows: Sequence[tuple[str, ...]], width: int) -> list[int]:
    """Widths of the columns: those of their widest cells, or less to fit into `width`."""
    sizes = [
        min(max(_width(row[i]) for row in [_HEADS, *rows]), most)
        for i, most in enumerate(_MAX_WIDTHS)
    ]
    for i, fewest in enumerate(_MIN_WIDTHS):
        over = sum(sizes) + len(_GAP) * (len(sizes) - 1) - width
        sizes[i] = max(min(sizes[i], fewest), sizes[i] - max(0, over))
    return sizes


def _line(cells: Sequence[str], sizes: Sequence[int], cut: str) -> str:
    """The cells padded to their columns; the two sizes are right-aligned."""
    shown = []
    for i, (cell, size) in enumerate(zip(cells, sizes, strict=True)):
        text = _shorten(cell, size, cut)
        space = " " * (size - _width(text))
        shown.append(space + text if i >= len(cells) - 2 else text + space)
    return _GAP.join(shown)


def _wrap(start: str, text: str, width: int, further: str | None = None) -> list[str]:
    """Wraps text; lines after the first are indented by the width of `start`, or by `further`."""
    if not text:
        return []
    indent = " " * len(start) if further is None else further
    return textwrap.wrap(
        printable(text),
        width,
        initial_indent=start,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def _width(text: str) -> int:
    """Number of terminal columns of the text."""
    return sum(_columns_of(c) for c in text)


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _shorten(text: str, width: int, cut: str) -> str:
    """The text, or its beginning followed by `cut` if it is wider than `width`."""
    if _width(text) <= width:
        return text
    kept, left = "", width - len(cut)
    for character in text:
        left -= _columns_of(character)
        if left < 0:
            break
        kept += character
    return kept + cut


def _shows(encoding: str | None, text: str) -> bool:
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True

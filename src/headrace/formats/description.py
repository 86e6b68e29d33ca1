"""The description of a file that `headrace info` shows, for any format."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from headrace.errors import DataError, FileFormatError, MemoryBudgetError, ReadError
from headrace.formats.advice import Advice
from headrace.formats.base import Description, Location
from headrace.formats.mixing import Setting, memory_that_mixes, mixes_well, mixing
from headrace.formats.roles import Roles, guess
from headrace.formats.sorted_rows import is_column_of_classes, sorted_rows
from headrace.resources import format_bytes
from headrace.sources import Source
from headrace.spec import Column, Field

_WORD = re.compile(r"[\w./][\w./ -]*", re.ASCII)
"""Names that `headrace fit` takes as they are."""

MOST_COLUMNS = 200
"""How many columns are described unless the user asks for more."""


def advice_document(one: Advice) -> dict[str, Any]:
    """Advice as a JSON document."""
    return {
        "kind": one.kind,
        "datasets": list(one.columns),
        "text": one.text,
        "language": one.language or None,
        "command": one.command or None,
    }


def next_steps(reader: str, file: str, roles: Roles | None) -> dict[str, Any] | None:
    """Code that opens a file and trains on it, in Python and in a shell; None if x is not clear."""
    if roles is None:
        return None
    shell = None
    if roles.y and all(_WORD.fullmatch(name) for name in roles.names):
        words = ["headrace", "fit", file, "--x", roles.x, "--y", roles.y]
        if roles.sample_weight:
            words += ["--sample-weight", roles.sample_weight]
        shell = shlex.join(words)
    return {**roles._asdict(), "python": roles.call(reader, file), "shell": shell}


def describe(location: Location, setting: Setting, limit: int | None = None) -> Description:
    """Describes a file: by its format's own method, or else from its columns.

    Args:
        location: The file.
        setting: What the advice is for.
        limit: How many columns to look at, at most; None for as many as a person reads.
    """
    return location.describe(setting, limit) or _describe_columns(location, setting, limit)


def _describe_columns(location: Location, setting: Setting, limit: int | None) -> Description:
    """Describes a file from its columns alone, whatever its format."""
    names = location.names()
    looked_at = names[: limit or MOST_COLUMNS]
    objects: list[dict[str, Any]] = []
    sources: dict[str, Source] = {}
    damage = []
    for name in looked_at:
        try:
            sources[name] = location.source([name])
            objects.append(_column(location.column(name), sources[name]))
        except (DataError, ReadError) as error:
            damaged = isinstance(error, (FileFormatError, ReadError))
            damage += [str(error)] * damaged
            objects.append(_object(name, problem=str(error), damaged=damaged))
    rows = max((source.length for source in sources.values()), default=0)
    word = location.column_word
    root = _object("", kind="group", objects=len(names), listed=len(looked_at))
    fields = {
        name: found
        for name, source in sources.items()
        for found in source.fields
        if found.dtype.kind in "biuf"
    }
    roles = guess(fields, {name: sources[name].length for name in fields})
    advice = list(_advise(location, sources, fields, roles, setting))
    damage += [one.text for one in advice if one.kind == "damaged"]
    return Description(
        {
            "format": location.format_name,
            "file": location.path,
            "bytes": location.size(),
            "rows": rows,
            "columns": len(names),
            "complete": len(looked_at) == len(names),
            "objects": [root, *objects],
            "advice": [advice_document(one) for one in advice],
            "setting": setting._asdict(),
            "next": next_steps("hr.open", location.path, roles),
        },
        f"{rows:,} row{'s' * (rows != 1)}, {len(names):,} {word}{'s' * (len(names) != 1)}",
        location.legend(),
        tuple(damage),
    )


def _object(name: str, kind: str = "column", **known: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "note": None,
        "alike": None,
        "attributes": {},
        "problem": None,
        "damaged": False,
    }
    return {"name": name, "kind": kind, **usual, "content": None, **known}


def _column(found: Column, source: Source) -> dict[str, Any]:
    name = found.name
    path = source.read_paths()[name]
    size = sum(one.nbytes for one in source.fields if one.name == name)
    offsets = source.block_offsets([name])
    blocks = (
        ""
        if source.addressable([name])
        else f"{len(offsets) - 1:,} block{'s' * (len(offsets) != 2)}"
    )
    return _object(
        name,
        field=True,
        type=found.type,
        missing=found.missing,
        shape=[source.length, *found.shape],
        dtype=found.type if found.dtype is None else str(found.dtype),
        stored=blocks,
        stored_bytes=None,
        decoded_bytes=source.length * size,
        ratio=None,
        path=path.path,
        reason=path.reason,
    )


def _advise(
    location: Location,
    sources: Mapping[str, Source],
    fields: Mapping[str, Field],
    roles: Roles | None,
    setting: Setting,
) -> Any:
    """Advice for a person who is about to train on the columns."""
    if not fields:
        return
    x = roles.x if roles else max(fields, key=lambda n: fields[n].nbytes * sources[n].length)
    columns = {
        name: sources[name]
        for name, found in fields.items()
        if is_column_of_classes(found) and sources[name].length == sources[x].length
    }
    yield from _weak_mixing(location, sources[x], x, setting)
    yield from sorted_rows(
        columns, roles, x, sources[x], setting, lambda named: named.call("hr.open", location.path)
    )


def _weak_mixing(location: Location, source: Source, name: str, setting: Setting) -> Any:
    """Advice on blocks that are too large to mix well in the memory."""
    memory = format_bytes(setting.memory)
    try:
        shuffle = mixing(source, name, setting)
    except MemoryBudgetError as error:
        said = f"{memory} of memory cannot hold two of its blocks beside the batches. {error}"
    else:
        if mixes_well(shuffle, setting):
            return
        assert shuffle is not None
        said = (
            f"{memory} of memory holds and mixes {shuffle.blocks_per_window} of its blocks for "
            f"batches of {setting.batch_size}. If neighbouring rows are alike, a batch statistic "
            f"varies up to {shuffle.variance_bound:.1f} times as much as under a uniform shuffle."
        )
    enough = format_bytes(memory_that_mixes(source, name, setting))
    said += f" With memory='{enough}' they mix well; rows that pack writes are read one by one."
    call = f"hr.pack(hr.open({location.path!r}, ...), 'packed.h5')"
    yield Advice("large-blocks", (name,), said, "python", call)

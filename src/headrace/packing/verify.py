"""`verify`: checks packed files against their checksums."""

import gc
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headrace.errors import (
    FileFormatError,
    HeadraceError,
    MissingFileError,
    ReadError,
    check_integer,
    printable,
)
from headrace.formats import from_hdf5, open_location
from headrace.formats.fields import with_fields
from headrace.formats.mixing import view_of
from headrace.html import html_table
from headrace.loading import Loader, View
from headrace.loading.budget import least_memory
from headrace.manifest import (
    NAME,
    Manifest,
    Shard,
    check_shard,
    manifest_at,
    read_manifest,
)
from headrace.progress import Advance
from headrace.progress import progress as shown
from headrace.resources import (
    cpu_count,
    default_memory,
    format_bytes,
    parse_bytes,
    too_little_memory,
)
from headrace.spec import PARTS, Field, leaves

_MOST_PROBLEMS = 20
"""Most problems that are reported per field; the rest are counted."""

_PIECE_BYTES = 1 << 20
_AS_NOTED = "CRC-32 as noted"


@dataclass(frozen=True)
class Verification:
    """The result of `verify`.

    Attributes:
        path: The file or folder.
        rows: The number of samples; None if it is unknown, or fields differ in length.
        bytes: Bytes that were read and checked.
        checked: One line for each file or dataset that was checked.
        problems: One line for each thing that is broken; none if all is well.
        remarks: What was not checked, and why.
    """

    path: str
    rows: int | None
    bytes: int
    checked: tuple[str, ...]
    problems: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def __str__(self) -> str:
        lines = [self._summary(), *[f"  {state:<6}  {line}" for state, line in self._found()]]
        return printable_lines(lines)

    def __repr__(self) -> str:
        state = f"{len(self.problems)} broken, first {self.problems[0]}" if self.problems else "ok"
        return printable(f"<Verification of {self.path}: {state}>")

    def _repr_html_(self) -> str:
        return html_table(self._summary(), self._found())

    def _summary(self) -> str:
        rows = "" if self.rows is None else f"{self.rows:,} rows, "
        return f"{self.path}: {rows}{format_bytes(self.bytes)} read"

    def _found(self) -> list[tuple[str, str]]:
        """The lines about checks, problems and remarks."""
        parts = {"ok": self.checked, "broken": self.problems, "note": self.remarks}
        return [(state, line) for state, lines in parts.items() for line in lines]


def printable_lines(lines: list[str]) -> str:
    """Lines with names from files, with control characters escaped."""
    return "\n".join(map(printable, lines))


def verify(
    path: str | os.PathLike[str],
    *,
    memory: int | str | None = None,
    workers: int | None = None,
    progress: bool | None = None,
) -> Verification:
    """Reads all data, and lists the problems.

    For a folder that `pack` wrote, it checks that each file exists, has the size and the SHA-256 of
    the manifest, and holds its fields and rows. For a file that `pack` wrote, it checks the values
    and attributes of each field against the checksums (CRC-32) in the file. For any other file of a
    known format, it checks that everything can be read and decoded; wrong values that decode
    without an error are not found.

    Args:
        path: A folder with a manifest, the manifest, or a file of any format that `open` knows.
        memory: Bytes for the data that are read, as in `batch`.
        workers: Threads; None takes the CPUs that the process may use.
        progress: Whether to show a bar; None does on a terminal.

    Returns:
        A `Verification`, with `ok` and `problems`.

    Raises:
        MissingFileError: If there is nothing at `path`.
        FileFormatError: If it is neither a manifest nor of a known format.

    Example:

    ```python
    found = hr.verify("cats.h5")
    print(found)
    assert found.ok, found.problems
    ```
    """
    place = Path(path)
    budget = default_memory() if memory is None else parse_bytes(memory)
    check_integer("workers", workers, 1, or_none=True)
    manifest = manifest_at(place)
    if manifest is not None:
        return _verify_shards(manifest, budget, workers or cpu_count(), progress)
    if place.is_dir():
        raise MissingFileError(f"There is no {NAME} in the folder {place}: pack did not write it.")
    found = _verify_file(place, budget, workers, progress)
    if found.problems:
        # Errors keep files open in reference cycles, and libhdf5 shares its cache of an open file
        # with later openings, even after the file was repaired.
        gc.collect()
    return found


def _verify_shards(path: Path, memory: int, workers: int, bar: bool | None) -> Verification:
    from headrace.writing.direct import MOST_BYTES

    manifest = read_manifest(path)
    # Each thread has two buffers.
    buffer = min(MOST_BYTES, memory // 2 // workers)
    total = sum(shard.bytes for shard in manifest.shards)
    checked, problems = [], []
    with shown("verifying", total, bar) as advance, ThreadPoolExecutor(workers) as threads:

        def look(shard: Shard) -> str | None:
            problem = _problem_of(path.parent / shard.file, shard, manifest, buffer)
            advance(shard.bytes)
            return problem

        for shard, problem in zip(manifest.shards, threads.map(look, manifest.shards), strict=True):
            if problem is None:
                checked.append(f"{shard.file}: {shard.rows:,} rows, SHA-256 as in the manifest")
            else:
                problems.append(f"{shard.file}: {problem}")
    named = {shard.file for shard in manifest.shards} | {NAME}
    others = sorted(item.name for item in path.parent.iterdir() if item.name not in named)
    remarks = tuple(f"{name}: not in the manifest, and not used" for name in others)
    return Verification(
        str(path.parent), manifest.rows, total, tuple(checked), tuple(problems), remarks
    )


def _problem_of(file: Path, shard: Shard, manifest: Manifest, buffer: int) -> str | None:
    """The problem of a shard; None if there is none."""
    from headrace.writing.direct import sha256_of

    try:
        check_shard(file, shard)
        digest = sha256_of(file, buffer)
        if digest != shard.sha256:
            return f"its SHA-256 is {digest}, and the manifest says {shard.sha256}"
        names = [field.name for field in manifest.fields]
        data = from_hdf5(file, names)
    except (HeadraceError, OSError) as error:
        return str(error)
    if len(data) != shard.rows:
        return f"it has {len(data)} rows, and the manifest says {shard.rows}"
    found = tuple(data.spec[name] for name in names)
    if found != manifest.fields:
        return f"it holds {_listed(found)}, and the manifest says {_listed(manifest.fields)}"
    return None


def _listed(fields: tuple[Field, ...]) -> str:
    return ", ".join(map(str, fields))


def _verify_file(path: Path, memory: int, workers: int | None, bar: bool | None) -> Verification:
    location = open_location(path)
    note = location.note()
    ours = {name for part in PARTS for name in leaves(getattr(note, part))}
    names = location.names()
    problems = [f"{name}: it is not there any more" for name in sorted(ours.difference(names))]
    checked: list[str] = []
    remarks: list[str] = []
    views: dict[str, View] = {}
    for name in names:
        try:
            views[name] = view_of(with_fields(location.source([name]), repr(location.path)), [name])
        except HeadraceError as error:
            broken = name in ours or isinstance(error, (FileFormatError, ReadError))
            (problems if broken else remarks).append(f"{name}: {error}")
    total = sum(len(view) * view.row_bytes for view in views.values())
    pieces = {}
    for name, view in views.items():
        expected = location.checksums(name) if note.checksum_rows else None
        rows = max(1, min(_PIECE_BYTES // view.row_bytes, len(view)))
        pieces[name] = (rows if expected is None else note.checksum_rows, expected)
    _check_memory({name: (view, pieces[name][0]) for name, view in views.items()}, memory)
    with shown("verifying", total, bar) as advance:
        for name, view in views.items():
            rows, expected = pieces[name]
            found = list(_read(view, rows, expected, advance, memory, workers))
            if name in ours and expected is None and note.checksum_rows:
                found.append("its checksums are not there any more")
            found += _other_attributes(view, name, (note.attributes or {}).get(name, {}))
            problems += [f"{name}: {problem}" for problem in found]
            how = "read and decoded; no checksums are noted" if expected is None else _AS_NOTED
            checked += [] if found else [f"{name}: {len(view):,} rows, {how}"]
    for name, noted in (note.attributes or {}).items():
        if name.endswith("/") and views:
            found = list(_other_attributes(next(iter(views.values())), name, noted))
            problems += [f"{name}: {problem}" for problem in found]
    lengths = {len(view) for view in views.values()}
    rows_in_all = lengths.pop() if len(lengths) == 1 else None
    return Verification(
        str(path), rows_in_all, total, tuple(checked), tuple(problems), tuple(remarks)
    )


def _check_memory(pieces: Mapping[str, tuple[View, int]], memory: int) -> None:
    """Checks, before anything is read, that the rows that are read at once fit the memory.

    Raises:
        MemoryBudgetError: If they do not.
    """
    for name, (view, rows) in pieces.items():
        if memory < least_memory(view, rows, shuffle=False, keep=False):
            raise too_little_memory(
                memory,
                f"{name} is read in pieces of {rows:,} row{'s' * (rows != 1)}, "
                f"{format_bytes(rows * view.row_bytes)} each",
                max(least_memory(*some, shuffle=False, keep=False) for some in pieces.values()),
            )


def _other_attributes(view: View, name: str, noted: Mapping[str, int]) -> Iterator[str]:
    """The attributes of an object that differ from their checksums; new attributes are fine."""
    try:
        there = view.parts[0].source.attributes(name) if noted else {}
    except (HeadraceError, OSError, RuntimeError) as error:
        yield f"its attributes cannot be read: {error}"
        return
    for key, checksum in noted.items():
        if key not in there:
            yield f"its attribute {key!r} is not there any more"
        elif there[key] is None or there[key].checksum != checksum:
            yield f"its attribute {key!r} is not what was written"


def _read(
    view: View,
    rows: int,
    expected: npt.NDArray[np.uint32] | None,
    advance: Advance,
    memory: int,
    workers: int | None,
) -> Iterator[str]:
    """Reads all rows of a field, and continues after rows that cannot be read.

    Args:
        view: The field.
        rows: Rows in a run, which is read at once and has one checksum.
        expected: The checksums; None if none are stored.
        advance: Called with the bytes that were read.
        memory: The budget in bytes.
        workers: Threads.

    Yields:
        A line for each problem.
    """
    from headrace.writing.encoders import checksum_of

    (name,) = view.names
    loader = Loader(
        view,
        lambda arrays: checksum_of(np.ascontiguousarray(arrays[name])),
        rows,
        memory=memory,
        workers=workers,
        keep=False,
    )
    if expected is not None and len(expected) != len(loader):
        yield f"it has {len(loader)} pieces of {rows} rows, and checksums of {len(expected)}"
        expected = None
    done = 0
    said: set[str] = set()
    while done < len(loader) and len(said) < _MOST_PROBLEMS:
        loader.go_to(0, done)
        try:
            for checksum in loader:
                if expected is not None and checksum[0] != expected[done]:
                    last = min((done + 1) * rows, len(view)) - 1
                    said.add(f"rows {done * rows} to {last} are not what was written (CRC-32)")
                    yield f"rows {done * rows} to {last} are not what was written (CRC-32)"
                done += 1
                advance(rows * view.row_bytes)
                if len(said) >= _MOST_PROBLEMS:
                    break
        except HeadraceError as error:
            # All rows of a run fail together.
            if str(error) not in said:
                yield str(error)
            said.add(str(error))
            done += 1
    if done < len(loader):
        yield f"and more, behind row {done * rows}, was not looked at"

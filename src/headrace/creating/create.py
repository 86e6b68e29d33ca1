"""`create`: opens a new HDF5 file for the user's own code to write."""

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from headrace.creating.fields import fields_of
from headrace.errors import OptionError, check_integer
from headrace.manifest import Note, structure_of
from headrace.spec import Field, Spec, Structure
from headrace.staging import Staging, check_room, path_to_write, sync, write_errors

if TYPE_CHECKING:
    from headrace.creating.files import Files
    from headrace.creating.store import Store
    from headrace.creating.writer import Writer

_HEADER_BYTES = 1 << 16


def create(
    path: str | os.PathLike[str],
    fields: Mapping[str, Any] | Spec | Field | list[Field],
    length: int | None = None,
    *,
    x: Structure = None,
    y: Structure = None,
    sample_weight: Structure = None,
    overwrite: bool = False,
    resume: bool = False,
) -> "Writer":
    """Writes a new HDF5 file row by row, in any order, from any number of threads.

    The file appears at `path` when the writer is closed and all rows are there, in one step: at any
    moment there is what was there before, or the whole new file. Rows of each field lie in one
    piece, uncompressed, so that training reads any of them by its address (`pack` compresses).

    A killed process loses at most the rows that were not flushed. `flush()` says when; besides, a
    thread does it every 64 MiB, and every five seconds. What was flushed lies in a hidden folder
    beside `path`, and `resume=True` continues from there. A row that is being overwritten when the
    process is killed may hold some of both values.

    No rows are held in memory: values are written as they come, and cast in pieces of 4 MiB.

    Args:
        path: The file to make.
        fields: What a row holds: a dict of names to dtypes, or to tuples of the shape of a sample
            and a dtype; `data.spec`; or a list of `Field`. Names may have groups, "meta/age".
        length: How many rows; None for a file that grows as it is written. If it is known, a disk
            without room is found out at once, and nothing is copied at the end: closing a file that
            grew copies all fields but the largest, and needs room for that.
        x: Noted in the file, so that `hr.open(path)` needs no names: the model's input, as in
            `from_hdf5`. A spec brings its own.
        y: The target, likewise.
        sample_weight: Weights, likewise.
        overwrite: Replaces the file at `path`, and discards the rows that an earlier process left,
            unless `resume` continues from them.
        resume: Continues from what an earlier process has flushed, if there is anything. Fields and
            length must be the same as in that process. `len(writer)` is the row to continue at.

    Returns:
        A `Writer`, best used in a `with` statement: it is closed at the end. After an exception no
        file is made, and what was written stays for `resume=True`.

    Raises:
        OptionError: If an argument cannot be honoured, something is at `path`, or something was
            left of it and neither `resume` nor `overwrite` says what to do with that.
        ShapeError: If samples have no bytes.
        TypeNotSupportedError: If HDF5 has no such type.
        MissingFileError: If there is no folder to make it in.
        NoPermissionError: If that cannot be written to.
        LockedFileError: If the same file is being written, here or by another process.
        DiskFullError: If there is no room for `length` rows.
        StateError: If the rows that were left belong to a file of other fields or length.

    Example:

    ```python
    with hr.create("new.h5", {"image": ((32, 32, 3), "uint8"), "label": "float32"}) as w:
        for images, labels in loader:
            w.write({"image": images, "label": labels.astype("float32")})

    with hr.create("labels.h5", {"label": "float32"}, length=100) as w:
        w["label"][10:] = 0
        w["label"][:10] = np.arange(10, dtype="float32")
    ```
    """
    target = path_to_write(path)
    check_integer("length", length, 1, or_none=True)
    stored = fields_of(fields)
    if isinstance(fields, Spec) and x is None and y is None and sample_weight is None:
        x, y, sample_weight = fields.x, fields.y, fields.sample_weight
    structure = structure_of([field.name for field in stored], x, y, sample_weight)
    if os.path.isdir(target):  # noqa: PTH112 - never raises
        raise OptionError(f"{path} is a folder. Name a file.")

    from headrace.creating.writer import Writer
    from headrace.sources.hdf5.limits import MOST_ROWS

    rows = None if length is None else int(length)
    if rows is not None and rows > MOST_ROWS:
        raise OptionError(f"Expected length to be at most {MOST_ROWS}. Received: {length}")
    with ExitStack() as ends:
        staging = ends.enter_context(Staging(path, overwrite=overwrite, resume=resume))
        with write_errors(staging.target):
            store = _store(staging, stored, rows, structure)
        ends.callback(store.abandon)
        writer = Writer(store, stored)
        ends.pop_all()
        return writer


def _store(
    staging: Staging,
    fields: tuple[Field, ...],
    length: int | None,
    structure: Mapping[str, Structure],
) -> "Store":
    """The store of a new file, or of the one that an earlier process left."""
    from headrace.creating.files import FixedFile, GrowingFiles
    from headrace.creating.rows import RowSet
    from headrace.creating.store import Store, read_note

    form = {"fields": [str(field) for field in fields], "length": length, **structure}
    plan = json.loads(json.dumps(form))
    kind = GrowingFiles if length is None else FixedFile
    rows = read_note(staging.folder, staging.target, plan)
    if rows is None or not kind.are_there(staging.path):
        rows = None
        staging.empty()
        sync(staging.target.parent)
        if length is not None:
            row_bytes = sum(field.nbytes for field in fields)
            check_room(staging.target, length * row_bytes + _HEADER_BYTES)
    note = None if structure["x"] is None else Note(**structure).to_json()
    stops = None if rows is None else {name: some.stop for name, some in rows.items()}
    files: Files
    if length is None:
        files = GrowingFiles(staging.path, fields, note, stops)
    else:
        files = FixedFile(staging.path, fields, note, length, stops)
    with ExitStack() as ends:
        ends.callback(files.close)
        there = rows or {field.name: RowSet() for field in fields}
        store = Store(staging, files, fields, length, plan, there)
        ends.pop_all()
        return store

"""A complete format: records of one size in a flat binary file, behind a header of JSON.

The first line of a file is its header, and all else are records, one after the other:

    {"records": 1, "columns": [["image", [8, 8], "|u1"], ["label", [], "<i8"]]}

Import this module, and `hr.open` and every command take such files.
"""

import json
import os
from functools import partial
from pathlib import Path

import numpy as np

from headrace.errors import FileFormatError, field_not_found
from headrace.formats import Format, Location, register
from headrace.sources import ReadPath, ReadStats, Source
from headrace.sources.file import File, fetch
from headrace.spec import Field

START = b'{"records": 1,'
ROWS_PER_BLOCK = 4096


class Records(Format):
    """The format: how its files are recognised and opened."""

    name = "records"

    def recognises(self, path, start):
        return start.startswith(START)

    def open(self, path):
        return RecordsLocation(path)


class RecordsLocation(Location):
    """One file: the columns that it holds."""

    format_name = "records"

    def names(self):
        return [field.name for field in read_header(self.path)[0]]

    def source(self, names, end=None):
        return RecordsSource(self.path, names)

    def legend(self):
        return {"records": "a record is read by its place in the file"}


class RecordsSource(Source):
    """Reads some columns of one file, in any number of threads and processes."""

    def __init__(self, path, names):
        self._file = File(os.path.realpath(path))
        everything, self._record, self._start = read_header(path)
        there = {field.name: field for field in everything}
        for name in names:
            if name not in there:
                raise field_not_found(name, there, repr(path))
        self.fields = tuple(there[name] for name in names)
        size = os.stat(path).st_size - self._start
        self.length, rest = divmod(size, self._record.itemsize)
        if rest or not self.length:
            raise FileFormatError(
                f"{path!r} is truncated: {size} bytes of records, and a record has "
                f"{self._record.itemsize}. Copy or write it again."
            )

    def block_offsets(self, names):
        return np.append(np.arange(0, self.length, ROWS_PER_BLOCK), self.length)

    def addressable(self, names):
        return True  # one row costs one row

    def scratch(self, names):
        return ROWS_PER_BLOCK * self._record.itemsize

    def reads(self, rows, out):
        starts = range(0, len(rows), ROWS_PER_BLOCK)
        parts = [slice(start, start + ROWS_PER_BLOCK) for start in starts]
        arrays = [{name: array[part] for name, array in out.items()} for part in parts]
        return [partial(self.read_rows, rows[p], a) for p, a in zip(parts, arrays, strict=True)]

    def read_rows(self, rows, out):
        size = self._record.itemsize
        for start in range(0, len(rows), ROWS_PER_BLOCK):
            part = slice(start, start + ROWS_PER_BLOCK)
            records = np.empty(len(rows[part]), self._record)
            fetch(self._file, rows[part] * size + self._start, size, records.view(np.uint8))
            for name, array in out.items():
                array[part] = records[name]
        self._file.check_unchanged()
        return ReadStats(stored=len(rows) * size)

    def select(self, names):
        there = {field.name for field in self.fields}
        return self if there.issuperset(names) else RecordsSource(self._file.path, names)

    def files(self):
        return (self._file.path,)

    def read_paths(self):
        return {field.name: ReadPath("records", "of one size") for field in self.fields}

    def fingerprint(self):
        return f"{self.length} {[str(field) for field in self.fields]} {self._file.sample().hex()}"


def read_header(path):
    """The fields of a record, its dtype in the file, and where the first record starts."""
    with Path(path).open("rb") as file:
        try:
            columns = json.loads(file.readline())["columns"]
            record = np.dtype([(name, dtype, tuple(shape)) for name, shape, dtype in columns])
        except (ValueError, KeyError, TypeError) as error:
            raise FileFormatError(f"The header of {path!r} is damaged: {error}") from error
        parts = {name: record[name] for name in record.names}
        fields = [Field(n, d.shape, d.base.newbyteorder("=")) for n, d in parts.items()]
        return fields, record, file.tell()


def write_records(path, **columns):
    """Writes arrays whose first axis runs over samples."""
    described = [[name, list(a.shape[1:]), a.dtype.str] for name, a in columns.items()]
    dtype = [(name, kind, tuple(shape)) for name, shape, kind in described]
    records = np.empty(len(next(iter(columns.values()))), dtype)
    for name, array in columns.items():
        records[name] = array
    header = json.dumps({"records": 1, "columns": described})
    Path(path).write_bytes(header.encode() + b"\n" + records.tobytes())


FORMAT = Records()
register(FORMAT)

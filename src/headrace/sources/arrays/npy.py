"""Sources for `.npy` and uncompressed `.npz` files, and for mapped arrays."""

import itertools
import math
import mmap
import os
import struct
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from headrace.errors import (
    FieldNotFoundError,
    FileFormatError,
    HeadraceError,
    ReadError,
    TypeNotSupportedError,
    did_you_mean,
    some_of,
    with_number,
)
from headrace.resources import empty
from headrace.sources.arrays.rows import FieldSource, RowSource
from headrace.sources.base import Arrays, Read, ReadPath, ReadStats
from headrace.sources.file import File, fetch, opening_error
from headrace.sources.jobs import JOB_BYTES, cut_jobs, part_of
from headrace.sources.read_ahead import ReadAhead
from headrace.sources.signatures import looks_like
from headrace.spec import Indices

Array = npt.NDArray[Any]

_LOCAL_HEADER = 30
"""Bytes of the local header of a ZIP member, before its name and extra field."""

_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError),
    *(NotImplementedError, RuntimeError, OverflowError, IndexError, KeyError, TypeError),
)
"""Exceptions that reading a damaged ZIP archive may raise."""

_HEADERS = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
    (3, 0): npy.read_array_header_2_0,  # 3.0 differs only in the encoding of names
}


class ArrayLocation(NamedTuple):
    """The location and type of an array in a file.

    Attributes:
        path: The file.
        start: The offset of the first value, in bytes.
        shape: Shape of the array.
        dtype: dtype of the array.
        fortran: Whether the first axis varies fastest (Fortran order).
        what: The file or member, for messages.
    """

    path: str
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    what: str


def source_at(name: str, place: ArrayLocation) -> FieldSource:
    """A source with the field `name` for the array at `place`."""
    across = place.fortran and sum(size > 1 for size in place.shape) > 1
    return ColumnFile(name, place) if across else RowFile(name, place)


class RowFile(RowSource):
    """An array in C order: the bytes of each row are contiguous in the file."""

    def __init__(self, name: str, place: ArrayLocation) -> None:
        path = ReadPath("direct rows", f"{place.what}, uncompressed")
        super().__init__(name, place.shape, place.dtype, path)
        self._file = File(place.path)
        self._start = place.start
        self._swapped = not place.dtype.isnative
        _check_size(self._file, place)

    def files(self) -> tuple[str, ...]:
        return (self._file.path,)

    def announce(self, rows: Indices, names: Sequence[str]) -> bool:  # noqa: ARG002
        return self._file.announce(self._offsets(rows), self.field.nbytes)

    def reads(self, rows: Indices, out: Arrays) -> list[Read]:
        ahead = ReadAhead(partial(self.announce, names=[]), rows, self.field.nbytes)
        return [
            partial(self._read_some, rows[a:b], part_of(out, a, b), ahead, a)
            for a, b in cut_jobs(rows, self.field.nbytes)
            if out
        ]

    def _read_some(self, rows: Indices, out: Arrays, ahead: ReadAhead, place: int) -> ReadStats:
        ahead.reach(place)
        return self.read_rows(rows, out)

    def _take(self, rows: Indices, out: Array) -> None:
        target = out.reshape(-1).view(np.uint8)
        with _located(self.field.name, rows):
            fetch(self._file, self._offsets(rows), self.field.nbytes, target)
            self._file.check_unchanged()
        if self._swapped:
            out.byteswap(inplace=True)

    def _offsets(self, rows: Indices) -> Indices:
        offsets: Indices = rows * self.field.nbytes + self._start
        return offsets

    def fingerprint(self) -> str:
        return f"{super().fingerprint()}{self._file.identity.size:x}"


class ColumnFile(FieldSource):
    """An array in Fortran order: the values of each row are scattered over the file."""

    def __init__(self, name: str, place: ArrayLocation) -> None:
        path = ReadPath("direct columns", f"{place.what}, in Fortran's order")
        super().__init__(name, place.shape, place.dtype, path)
        self._file = File(place.path)
        self._start = place.start
        self._stored = place.dtype
        _check_size(self._file, place)

    def files(self) -> tuple[str, ...]:
        return (self._file.path,)

    @property
    def _block_rows(self) -> int:
        """Rows of a block: as many as fill a page of each column, but not too many bytes in all."""
        page = mmap.PAGESIZE // self._stored.itemsize
        return max(1, min(page, 16 * JOB_BYTES // self.field.nbytes, self.length))

    def block_offsets(self, names: Sequence[str]) -> Indices:  # noqa: ARG002 - there is one field
        return np.append(np.arange(0, self.length, self._block_rows), self.length)

    def addressable(self, names: Sequence[str]) -> bool:  # noqa: ARG002
        return False

    def scratch(self, names: Sequence[str]) -> int:  # noqa: ARG002
        return self._block_rows * self._stored.itemsize

    def reads(self, rows: Indices, out: Arrays) -> list[Read]:
        cuts = (np.flatnonzero(np.diff(rows // self._block_rows)) + 1).tolist()
        bounds = [0, *cuts, len(rows)] if len(rows) else [0]
        return [
            partial(self._read_block, rows[a:b], out[self.field.name][a:b])
            for a, b in itertools.pairwise(bounds)
            if out
        ]

    def _read_block(self, rows: Indices, out: Array) -> ReadStats:
        began = time.perf_counter_ns()
        item, first = self._stored.itemsize, int(rows[0])
        column = empty(int(rows[-1]) - first + 1, self._stored)
        with _located(self.field.name, rows):
            # All axes are in Fortran order: the earlier ones vary faster.
            for number, place in enumerate(np.ndindex(*self.field.shape[::-1])):
                offset = self._start + (number * self.length + first) * item
                self._file.read_into(column.view(np.uint8), offset)
                out[(slice(None), *place[::-1])] = column[rows - first]
            self._file.check_unchanged()
        stored = column.nbytes * math.prod(self.field.shape)
        return ReadStats(read=time.perf_counter_ns() - began, stored=stored)

    def blocks_of(self, names: Sequence[str], rows: Indices) -> dict[str, Indices]:  # noqa: ARG002
        return {self.field.name: np.unique(rows // self._block_rows)}


def find(path: str) -> ArrayLocation:
    """Locates the array that a path names: a `.npy` file, or a member of an `.npz` file.

    The name of a member follows the path of its file, as in `"data.npz/image"`. It may be omitted
    if the file has only one member.

    Raises:
        MissingFileError, NoPermissionError, ReadError: If the file cannot be opened.
        FileFormatError: If it has another format, is damaged, or the member is compressed.
        FieldNotFoundError: If there is no such member.
        TypeNotSupportedError: If the array holds Python objects.
    """
    file, member = _split(path)
    if Path(file).is_dir():
        raise FileFormatError(f"{file!r} is a folder. Expected the path of a .npy or .npz file.")
    try:
        with Path(file).open("rb") as opened:
            start = opened.read(6)
            opened.seek(0)
            if start == npy.MAGIC_PREFIX:
                if member:
                    raise FileFormatError(f"{file!r} is a .npy file and has no member {member!r}.")
                return _read_header(opened, file, f"{file!r}")
            if start[:4] not in (b"PK\x03\x04", b"PK\x05\x06"):
                raise FileFormatError(
                    f"{file!r} looks like {looks_like(start)}. Expected a .npy or .npz file, as "
                    "numpy.save and numpy.savez write them."
                )
            return _find_member(opened, file, member)
    except OSError as error:
        if isinstance(error, HeadraceError):
            raise
        raise opening_error(file, error) from None
    except _DAMAGE as error:
        if isinstance(error, HeadraceError):
            raise
        raise FileFormatError(f"{file!r} is damaged: {error}. Copy or save it again.") from error


def _split(path: str) -> tuple[str, str]:
    """Splits a path into an existing file and the name of a member of it."""
    if Path(path).exists():
        return os.path.realpath(path), ""
    for parent in Path(path).parents:
        if parent.is_file():
            return os.path.realpath(parent), Path(path).relative_to(parent).as_posix()
    return os.path.realpath(path), ""


def _find_member(opened: BinaryIO, file: str, member: str) -> ArrayLocation:
    with zipfile.ZipFile(opened) as archive:
        infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        member = member.removesuffix(".npy")
        if not member and len(infos) == 1:
            (member,) = infos
        if member not in infos:
            hint = did_you_mean(member, infos) if member else ""
            which = f"has no array {member!r}" if member else "holds several arrays"
            named = f"{Path(file).name}/{next(iter(infos), 'x')}"
            raise FieldNotFoundError(
                f"{file!r} {which}.{hint} Name one of them, as in {named!r}. "
                f"It holds: {some_of(list(infos)) or 'nothing'}."
            )
        info = infos[member]
        what = f"{member!r} in {file!r}"
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise FileFormatError(
                f"{what} is compressed, so that single rows cannot be read. Load it with "
                "numpy.load if it fits into memory, or save it with numpy.savez."
            )
        opened.seek(info.header_offset)
        head = opened.read(_LOCAL_HEADER)
        if len(head) < _LOCAL_HEADER or head[:4] != b"PK\x03\x04":
            raise FileFormatError(
                f"{file!r} is damaged: there is no header of {member!r} at byte "
                f"{info.header_offset}. Copy or save it again."
            )
        lengths = struct.unpack("<HH", head[26:30])
        start = info.header_offset + _LOCAL_HEADER + sum(lengths)
        opened.seek(start)
        place = _read_header(opened, file, what)
        end = place.start + math.prod(place.shape) * place.dtype.itemsize
        if end > start + info.file_size:
            raise FileFormatError(f"{what} is truncated. Copy or save it again.")
        return place


def _read_header(opened: BinaryIO, file: str, what: str) -> ArrayLocation:
    """Reads the header that NumPy writes before the values of an array."""
    try:
        version = npy.read_magic(opened)
        if version not in _HEADERS:
            raise FileFormatError(
                f"{what} has version {version[0]}.{version[1]} of NumPy's format, which is not "
                "supported. Save it again with numpy.save."
            )
        shape, fortran, dtype = _HEADERS[version](opened)
        if version == (3, 0) and dtype.names:
            raise FileFormatError(
                f"{what} has members with names outside Latin-1. Save them as separate arrays."
            )
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError) as error:
        if isinstance(error, HeadraceError):
            raise
        words = " ".join(str(error).split())
        raise FileFormatError(f"{what} is not an array, or is damaged: {words}") from error
    if dtype.hasobject:
        raise TypeNotSupportedError(
            f"{what} holds Python objects. Reading them would need pickle, which can run arbitrary "
            "code. Save numbers instead."
        )
    return ArrayLocation(file, opened.tell(), shape, dtype, fortran, what)


def place_of_mapped(array: np.memmap[Any, Any]) -> ArrayLocation | None:
    """The location of a memory-mapped array in its file.

    None if its values are not contiguous, or if the mapping is writable: writes to the array would
    be reported as changes to the file.
    """
    if array.mode != "r" or array.filename is None or array.dtype.hasobject:
        return None
    if not (array.flags.c_contiguous or array.flags.f_contiguous) or not array.ndim:
        return None
    mapping = array._mmap  # type: ignore[attr-defined]
    first = np.frombuffer(mapping, np.uint8).ctypes.data
    # A view has the `offset` of the array that was mapped; mappings start at a page.
    page = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    path = os.path.realpath(array.filename)
    start = page + array.ctypes.data - first
    fortran = not array.flags.c_contiguous
    return ArrayLocation(path, start, array.shape, array.dtype, fortran, f"mapped from {path!r}")


def _check_size(file: File, place: ArrayLocation) -> None:
    end = place.start + math.prod(place.shape) * place.dtype.itemsize
    if file.identity.size < end:
        raise FileFormatError(
            f"{place.what} is truncated: the file has {file.identity.size} bytes, and "
            f"{place.shape} values of {place.dtype} end at byte {end}. Copy or save it again."
        )


@contextmanager
def _located(name: str, rows: Indices) -> Iterator[None]:
    """Adds the field and its rows to the messages of read errors."""
    try:
        yield
    except ReadError as error:
        low, high = int(rows.min()), int(rows.max())
        text = f"Reading rows {low} to {high} of {name!r} failed: {error}"
        raise with_number(type(error)(text), error) from error

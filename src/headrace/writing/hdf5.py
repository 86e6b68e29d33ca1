"""Writes an HDF5 file of known length: first the layout, then the values."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5f, h5g, h5p, h5s, h5t
from h5py._objects import phil

from headrace.errors import TypeNotSupportedError
from headrace.sources.hdf5.attributes import Attribute, write_attribute
from headrace.spec import Field
from headrace.writing.direct import LEAST_BYTES, MOST_BYTES, PAGE, Digest, Stretches
from headrace.writing.encoders import Encoded, Storage
from headrace.writing.flushing import FileFlusher

VERSION = ("v110", "v110")
"""The version of the file format, which every HDF5 since 2016 reads; it has checksums."""

ALIGNMENT = PAGE
"""Bytes. Contiguous values start at a page boundary, for direct and mapped reads."""

_ERRNO = re.compile(r"errno = (\d+)")


class FileWriter:
    """Writes a file from its first row to its last.

    Args:
        path: The file, which is created.
        fields: The datasets.
        rows: Samples, at least one.
        storage: How the values are stored.
        buffer: Bytes of memory for write buffers.
        notes: Attributes, as for `set_attributes`.
        digest: The digest of the file. It is updated with contiguous values as they are written;
            the caller has it read the rest.

    Raises:
        TypeNotSupportedError: If HDF5 has no such type.
    """

    def __init__(
        self,
        path: Path,
        fields: Sequence[Field],
        rows: int,
        storage: Storage,
        *,
        buffer: int = MOST_BYTES,
        notes: Mapping[str, Mapping[str, Any]] | None = None,
        digest: Digest | None = None,
    ) -> None:
        self._fields = {field.name: field for field in fields}
        self._stretches: Stretches | None = None
        self._flusher: FileFlusher | None = None
        self._file: h5py.File | None = None
        with ExitStack() as ends, system_errors():
            ends.callback(self.close)
            self._file = make_file(path, fields, rows, storage)
            _note(self._file, notes or {})
            if storage.compression is None:
                starts = {name: self._file[name].id.get_offset() for name in self._fields}
                self._close_file()
                self._stretches = Stretches(path, starts, _buffers(fields, buffer), digest)
            else:
                self._flusher = FileFlusher(path)
            ends.pop_all()

    def __enter__(self) -> "FileWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def put(self, row: int, encoded: Mapping[str, Encoded]) -> None:
        """Writes the next rows of all fields.

        Args:
            row: The first row; for compressed fields, the first row of a chunk.
            encoded: The result of `storage.encode`.
        """
        for name, (values, mask) in encoded.items():
            if self._stretches is not None:
                self._stretches.put(name, values)
                continue
            assert self._file is not None
            assert self._flusher is not None
            offset = (row, *(0 for _ in self._fields[name].shape))
            # h5py 3.14 holds its lock in most calls of libhdf5, but not in this one.
            with system_errors(), phil:
                self._file[name].id.write_direct_chunk(offset, values, filter_mask=int(mask[0]))
            self._flusher.note(values.nbytes)

    def close(self) -> None:
        """Ends writing.

        Raises:
            OSError: If the bytes do not reach the disk.
        """
        stretches, self._stretches = self._stretches, None
        flusher, self._flusher = self._flusher, None
        with ExitStack() as ends:
            ends.callback(self._close_file)
            if stretches is not None:
                ends.callback(stretches.close)
            if flusher is not None:
                ends.callback(flusher.close)

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with system_errors():
                file.close()


def _buffers(fields: Sequence[Field], total: int) -> dict[str, int]:
    """Bytes of the buffer of each field, in proportion to the field's bytes in a row.

    Fields with a small share have none: the page cache is better for small pieces.
    """
    row_bytes = sum(field.nbytes for field in fields)
    shares = {field.name: total * field.nbytes // row_bytes for field in fields}
    return {
        name: share // PAGE * PAGE if share >= LEAST_BYTES else 0 for name, share in shares.items()
    }


@contextmanager
def system_errors() -> Iterator[None]:
    """Turns libhdf5's errors about failed system calls into `OSError` with the errno.

    Raises:
        OSError: With the number of the system's error.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = _ERRNO.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def make_file(path: Path, fields: Sequence[Field], rows: int, storage: Storage) -> h5py.File:
    """A new file with an empty dataset for each field.

    Raises:
        TypeNotSupportedError: If HDF5 has no such type, or its values are too large.
    """
    file = _new_file(path, ALIGNMENT if storage.compression is None else 1)
    try:
        # The first dataset in the file is digested as it is written.
        for field in sorted(fields, key=lambda field: -field.nbytes):
            *groups, name = field.name.encode().split(b"/")
            _dataset(_group(file, groups), name, field, rows, storage)
    except BaseException:
        file.close()
        raise
    return file


def _dataset(
    group: h5g.GroupID, name: bytes, field: Field, rows: int, storage: Storage
) -> h5d.DatasetID:
    kind = _type_of(field)
    # HDF5 limits the size of a chunk.
    most = max(rows, storage.chunk_rows)
    try:
        space = h5s.create_simple((rows, *field.shape), (most, *field.shape))
        plist = storage.properties(field.dtype, field.shape)
        return h5d.create(group, name, kind, space, plist, lcpl=_utf8())
    except ValueError as error:
        raise TypeNotSupportedError(
            f"HDF5 cannot keep {field.name!r}: {error}. Use fewer axes, or fewer members of "
            "compound values: datasets of their own."
        ) from error


def offsets_of(path: Path, names: Iterable[str]) -> dict[str, int]:
    """The byte offsets of the values of contiguous datasets in a file."""
    with system_errors(), h5py.File(path, "r", locking=False) as file:
        return {name: file[name].id.get_offset() for name in names}


def _new_file(path: Path, alignment: int) -> h5py.File:
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    access.set_libver_bounds(h5f.LIBVER_V110, h5f.LIBVER_V110)
    access.set_file_locking(False, True)
    with phil:  # see `put`
        access.set_alignment(alignment, alignment)
    return h5py.File(
        h5f.create(os.fsencode(path), h5f.ACC_TRUNC, _untimed(h5p.FILE_CREATE), access)
    )


def _group(file: h5py.File, names: Sequence[bytes]) -> h5g.GroupID:
    """The group at this path, created if it does not exist."""
    group = file["/"].id
    for name in names:
        there = group.links.exists(name)
        group = (
            h5g.open(group, name)
            if there
            else h5g.create(group, name, lcpl=_utf8(), gcpl=_untimed(h5p.GROUP_CREATE))
        )
    return group


def _utf8() -> h5p.PropLCID:
    """Creation properties for a name in UTF-8."""
    plist = h5p.create(h5p.LINK_CREATE)
    plist.set_char_encoding(h5t.CSET_UTF8)
    return plist


def _untimed(kind: h5p.PropClassID) -> h5p.PropOCID:
    """Creation properties of an object without a time stamp.

    So the same values always make the same bytes.
    """
    plist = h5p.create(kind)
    plist.set_obj_track_times(False)
    return plist


def check_types(fields: Iterable[Field]) -> None:
    """Checks that HDF5 has types for the values of all fields.

    Raises:
        TypeNotSupportedError: If not.
    """
    for field in fields:
        _type_of(field)


def _type_of(field: Field) -> h5t.TypeID:
    try:
        if _is_foreign(field.dtype) or field.dtype.hasobject:
            raise TypeError
        return h5t.py_create(field.dtype, logical=True)
    except TypeError:
        raise TypeNotSupportedError(
            f"HDF5 has no type for {field.name!r}, which holds {field.dtype}. Use map() to turn it "
            "into numbers, or into bytes of one length: array.astype('S')."
        ) from None


def _is_foreign(dtype: np.dtype[Any]) -> bool:
    """Whether a type is another library's, such as bfloat16: it would be stored as mere bytes."""
    if dtype.names is not None:
        return any(_is_foreign(dtype[name]) for name in dtype.names)
    return dtype.base.kind == "V" and dtype.base.names is None and dtype.base.type is not np.void


def set_attributes(path: Path, values: Mapping[str, Mapping[str, Any]]) -> None:
    """Sets attributes of the objects of a file: those of others, arrays, and bytes as text."""
    with system_errors(), h5py.File(path, "r+", libver=VERSION, locking=False) as file:
        _note(file, values)


def _note(file: h5py.File, values: Mapping[str, Mapping[str, Any]]) -> None:
    for name, attributes in values.items():
        for key, value in attributes.items():
            if isinstance(value, Attribute):
                write_attribute(file[name], key, value)
            else:
                file[name].attrs[key] = np.bytes_(value) if isinstance(value, bytes) else value

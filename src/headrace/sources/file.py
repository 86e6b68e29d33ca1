"""`File`: lock-free positional reads, many small ones in one system call."""

import ctypes
import difflib
import itertools
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from headrace.errors import (
    ChangedFileError,
    HeadraceError,
    MissingFileError,
    NoPermissionError,
    ReadError,
    read_error,
    with_number,
)
from headrace.sources import open_files as opened
from headrace.sources.identity import Identity, Look, Original
from headrace.sources.open_files import OpenFile, Pool, next_use

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

_IOV_MAX = 1024

_LOOKS = 16
"""Offsets that are probed to tell whether a file is in the page cache."""

_ADVICE_BYTES = 1 << 17
"""On many disks, one posix_fadvise call makes Linux fetch at most this many bytes."""

_LARGE = 1 << 16
"""Pieces of this size in bytes are read one by one: plain reads copy them faster."""

_Pair = ctypes.c_int64 * 2
"""The C type `struct iovec`: an address and a number of bytes."""

_SAMPLES = 16
_SAMPLE_BYTES = 4096

_pool = Pool(1 / 4)  # a mapped file takes two descriptors


class File:
    """A file that is read by offset, from any number of threads and processes.

    It is opened at the first read, and opened again after unpickling or after the pool of open
    files has closed it.

    Args:
        path: The file.

    Raises:
        MissingFileError: If there is no such file.
        NoPermissionError: If it may not be read.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._original = Original(path)
        except OSError as error:
            raise opening_error(path, error) from None
        self._reset()

    @property
    def identity(self) -> Identity:
        """The size, times and inode by which changes are detected."""
        return self._original.identity

    def _reset(self) -> None:
        self.last_use = 0
        self._open: OpenFile | None = None
        self._mappable = _copy_within_process is not None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_original": self._original}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def open(self) -> OpenFile:
        """The open file, which stays open while the caller holds a reference to it.

        Raises:
            MissingFileError, NoPermissionError: If it cannot be opened any more.
            ChangedFileError: If it had to be opened again, and the file has changed.
        """
        self.last_use = next_use()
        file = self._open
        return file if file is not None and file.usable() else self._open_it()

    def _open_it(self) -> OpenFile:
        with _pool.lock:
            if self._open is None or not self._open.usable():
                _pool.add(self)
                try:
                    found = opened.open_file(self.path)
                except OSError as error:
                    raise opening_error(self.path, error) from None
                self.check_same(lambda: Identity.of(found.status()))
                self._open = found
            return self._open

    def close(self) -> None:
        """Drops the reference to the open file; running reads keep it open until they end."""
        self._open = None

    def check_unchanged(self) -> None:
        """Checks that the file has not changed since it was opened.

        Raises:
            ChangedFileError: If it was written to.
            ReadError: If its status cannot be read any more.
        """
        file = self.open()
        self.check_same(lambda: Identity.of(file.status()))

    def check_same(self, look: Look) -> None:
        """Checks that `look` returns the identity of the file that was opened.

        Raises:
            ChangedFileError: If it is another file, or was written to.
            ReadError: If its status cannot be read.
        """
        change = self.change(look)
        if change:
            raise ChangedFileError(
                f"{self.path!r} {change} since it was opened; what was read may be mixed. "
                "Open the data again once nothing writes to the file."
            )

    def change(self, look: Look) -> str | None:
        """Describes how the file changed since it was opened; see `Original.change`.

        Raises:
            ReadError: If its status cannot be read.
        """
        try:
            return self._original.change(look)
        except OSError as error:
            raise read_error(f"Looking at {self.path!r}", error) from error

    def read_into(self, out: Bytes, offset: int) -> None:
        """Fills `out` (uint8, one axis) with the bytes at `offset`.

        Raises:
            ReadError: If the file is too short, or the system reports an error.
        """
        if offset < 0:
            # preadv takes -1 as the current file position.
            raise ReadError(f"There is no byte {offset} in {self.path!r}; the file is damaged.")
        file = self.open()
        target = memoryview(out)  # type: ignore[arg-type]  # arrays are buffers
        done = 0
        while done < out.nbytes:
            try:
                got = file.read_at(offset + done, target[done:])
            except OSError as error:
                what = f"Reading {out.nbytes} bytes at offset {offset} of {self.path!r}"
                raise read_error(what, error) from error
            if got == 0:
                self.check_unchanged()
                raise ReadError(
                    f"{self.path!r} ends at byte {self.identity.size}, but {out.nbytes} bytes were "
                    f"expected at offset {offset}: the file is truncated. "
                    "Copy or download it again."
                )
            done += got

    def announce(self, offsets: Offsets, sizes: Offsets | int) -> bool:
        """Tells the system to fetch `sizes` bytes at `offsets` in the background.

        The pieces are announced in ascending order.

        Returns:
            False if a sample of the pieces is in the page cache already, or the system cannot
            fetch in the background.
        """
        try:
            file = self.open()
        except HeadraceError:
            return False  # the read itself will raise this error and name the rows
        if not file.can_fetch or not len(offsets):
            return False
        order = np.argsort(offsets)
        starts = offsets[order]
        if all(map(file.in_memory, starts[:: max(1, len(starts) // _LOOKS)].tolist())):
            return False
        ends = starts + (sizes if isinstance(sizes, int) else sizes[order])
        for start, end in _joined(starts, ends):
            for at in range(start, end, _ADVICE_BYTES):
                file.will_need(at, min(_ADVICE_BYTES, end - at))
        return True

    def gather(self, offsets: Offsets, sizes: Offsets | int, out: Bytes) -> None:
        """Fills `out` (uint8, one axis) with the `sizes` bytes at each of `offsets`, in order.

        Where the system has `process_vm_writev`, one call reads up to 1,024 small pieces;
        elsewhere each piece takes one call.

        Raises:
            ReadError: If the file is too short, or the system reports an error.
        """
        if not len(offsets):
            return
        if out.nbytes >= _LARGE * len(offsets):
            self._gather_one_by_one(offsets, sizes, out)
            return
        file = self.open()
        if file.address is None and self._mappable:
            with _pool.lock:
                self._mappable = file.map(self.identity.size)
        # Addresses beyond the mapping belong to other memory of this process.
        ends = offsets + sizes
        inside = np.minimum.reduce(offsets) >= 0 and np.maximum.reduce(ends) <= self.identity.size
        if _copy_within_process is None or file.address is None or not inside:
            self._gather_one_by_one(offsets, sizes, out)
            return
        sources = np.empty((len(offsets), 2), np.int64)
        np.add(offsets, file.address, out=sources[:, 0])
        sources[:, 1] = sizes
        done = 0
        for first in range(0, len(offsets), _IOV_MAX):
            some = slice(first, first + _IOV_MAX)
            size = int(np.add.reduce(sources[some, 1]))
            if not _copy_within_process(out[done : done + size], sources[some]):
                # The file was truncated, or the system forbids the call: plain reads return the
                # data or raise the right error.
                few = sizes if isinstance(sizes, int) else sizes[some]
                self._gather_one_by_one(offsets[some], few, out[done : done + size])
            done += size

    def _gather_one_by_one(self, offsets: Offsets, sizes: Offsets | int, out: Bytes) -> None:
        file = self.open()
        target = memoryview(out)  # type: ignore[arg-type]  # arrays are buffers
        done = 0
        many = itertools.repeat(sizes) if isinstance(sizes, int) else sizes.tolist()
        for offset, size in zip(offsets.tolist(), many, strict=False):
            end = done + size
            try:
                complete = offset >= 0 and file.read_at(offset, target[done:end]) == size
            except OSError:
                complete = False
            if not complete:
                # read_into continues short reads, and raises a clear error for failed ones.
                self.read_into(out[done:end], offset)
            done = end

    def sample(self) -> bytes:
        """Bytes from 16 evenly spaced places in the file, including its start and its end.

        Raises:
            ReadError: If they cannot be read, or the file was written to.
        """
        size = min(self.identity.size, _SAMPLE_BYTES)
        offsets = np.linspace(0, self.identity.size - size, _SAMPLES).astype(np.int64)
        out = np.empty(_SAMPLES * size, np.uint8)
        self._gather_one_by_one(offsets, size, out)
        self.check_unchanged()
        return out.tobytes()


class Gathered(Protocol):
    """Bytes that are read by offset: one file, or pieces of several files put together."""

    def read_into(self, out: Bytes, offset: int) -> None:
        """Fills `out` with the bytes at `offset`."""

    def gather(self, offsets: Offsets, sizes: int, out: Bytes) -> None:
        """Fills `out` with the `sizes` bytes at each of `offsets`."""


def fetch(file: Gathered, offsets: Offsets, size: int, out: Bytes) -> None:
    """Fills `out` with the `size` bytes at each of `offsets`; reads adjacent pieces together.

    Raises:
        ReadError: If the file is too short, or the system reports an error.
    """
    apart = offsets[1:] - offsets[:-1] != size
    if np.count_nonzero(apart) * 4 < len(offsets):
        breaks = np.flatnonzero(apart) + 1
        for first, last in itertools.pairwise([0, *breaks.tolist(), len(offsets)]):
            file.read_into(out[first * size : last * size], int(offsets[first]))
    else:
        file.gather(offsets, size, out)


def _joined(starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> Iterator[list[int]]:
    """Joins pieces, sorted by start, that are less than a page apart."""
    ends = np.maximum.accumulate(ends)
    apart = np.flatnonzero(starts[1:] - ends[:-1] >= mmap.PAGESIZE)
    firsts, lasts = np.append(0, apart + 1), np.append(apart, len(starts) - 1)
    return iter(np.stack([starts[firsts], ends[lasts]], axis=1).tolist())


def opening_error(path: str, error: OSError) -> HeadraceError:
    """The error to raise for a file that could not be opened."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        missing = MissingFileError(f"There is no file at {path!r}.{_near(Path(path))}")
        return with_number(missing, error)
    if isinstance(error, PermissionError):
        text = f"No permission to read {path!r}. Ask its owner for read permission."
        return with_number(NoPermissionError(text), error)
    return read_error(f"Opening {path!r}", error)


def _near(path: Path) -> str:
    """A suggestion for the error message about a path at which there is no file."""
    if ":/" in str(path):
        return " Headrace reads files on this machine: download it first."
    file = next((parent for parent in path.parents if parent.is_file()), None)
    if file:
        return f" {str(file)!r} is a file: give that path, and name what is inside it with x=."
    if not path.parent.is_dir():
        return f" There is no folder {str(path.parent)!r} either."
    try:
        with os.scandir(path.parent) as found:
            names = [entry.name for entry in itertools.islice(found, 10_000)]
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, 3, 0.6)
    return f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""


def _load_copy_within_process() -> Callable[[Bytes, npt.NDArray[np.int64]], bool] | None:
    """Calls `process_vm_writev` on this process, so that the kernel gathers from mapped memory.

    This is about as fast as reading mapped memory directly, but safe: if the file was truncated
    after it was mapped, the call copies less, while a plain access would kill the process with
    SIGBUS. `process_vm_writev` is twice as fast as `process_vm_readv` here, because the kernel
    looks up and pins the pages of the remote side one by one, and `out` is one long piece.

    Returns:
        A function that returns whether it copied everything; None where the call is missing or
        does not work.
    """
    try:
        call = ctypes.CDLL(None, use_errno=True).process_vm_writev
    except (OSError, AttributeError, TypeError):
        return None
    call.restype = ctypes.c_ssize_t
    call.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_ulong,
        ctypes.c_void_p,
        ctypes.c_ulong,
        ctypes.c_ulong,
    ]

    def copy(out: Bytes, sources: npt.NDArray[np.int64]) -> bool:
        target = _Pair(out.ctypes.data, out.nbytes)
        copied = call(os.getpid(), sources.ctypes.data, len(sources), target, 1, 0)
        return bool(copied == out.nbytes)

    source = np.arange(16, dtype=np.uint8)
    target = np.zeros((1, 16), np.uint8)
    works = copy(target, np.array([[source.ctypes.data, 16]], np.int64))
    return copy if works and (target[0] == source).all() else None


_copy_within_process = _load_copy_within_process()

"""Positional reads of one file that hold no lock, many small reads in one system call."""

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
"""Places that are looked at to see whether a file is in memory."""

_ADVICE_BYTES = 1 << 17
"""Linux fetches no more for one call on many disks."""

_LARGE = 1 << 16
"""Bytes of a piece that is read by itself: one page after the other, plain reads copy faster."""

_Pair = ctypes.c_int64 * 2
"""An address and a number of bytes, as the system takes them."""

_SAMPLES = 16
_SAMPLE_BYTES = 4096

_pool = Pool(1 / 4)  # a mapping holds its file open for a second time


class File:
    """A file that is read by offset, from any number of threads and processes.

    Opened at the first read, and again after a pickle, or once others needed its place in the
    pool of open files.

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
        """What tells it from others."""
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
        """The file, open for as long as the caller refers to it.

        Raises:
            MissingFileError, NoPermissionError: If it cannot be opened any more.
            ChangedFileError: If it is opened, and is another one than before.
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
        """Releases the open file; running reads keep it open until they end."""
        self._open = None

    def check_unchanged(self) -> None:
        """Makes sure that what was read came from the file that was opened.

        Raises:
            ChangedFileError: If it was written to.
            ReadError: If the system cannot look at it any more.
        """
        file = self.open()
        self.check_same(lambda: Identity.of(file.status()))

    def check_same(self, look: Look) -> None:
        """Makes sure that what `look` looks at is the file that was opened.

        Raises:
            ChangedFileError: If it is another one, or was written to.
            ReadError: If the system cannot look at it.
        """
        change = self.change(look)
        if change:
            raise ChangedFileError(
                f"{self.path!r} {change} since it was opened; what was read may be mixed. "
                "Open the data again once nothing writes to the file."
            )

    def change(self, look: Look) -> str | None:
        """What happened to it since it was opened, as `Original.change` says.

        Raises:
            ReadError: If the system cannot look at it.
        """
        try:
            return self._original.change(look)
        except OSError as error:
            raise read_error(f"Looking at {self.path!r}", error) from error

    def read_into(self, out: Bytes, offset: int) -> None:
        """Fills `out` (uint8, one axis) with the bytes at `offset`.

        Raises:
            ReadError: If the file ends before, or the system reports a fault.
        """
        if offset < 0:
            # The system would take -1 for the place where the last read ended.
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
        """Has the system fetch `sizes` bytes at `offsets`, unless they are in memory already.

        It goes on fetching while this process does other things, as many pieces at a time as
        the disk takes, and in ascending order.

        Returns:
            False if that is not needed, as a look at some of them shows, or not possible.
        """
        try:
            file = self.open()
        except HeadraceError:
            return False  # the read that follows says so, and for which rows
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
        """Fills `out` (uint8, one axis) with `sizes` bytes at each of `offsets`, one by one.

        One system call for up to 1,024 small pieces where the system has one, and a read
        for each piece elsewhere.

        Raises:
            ReadError: If the file ends before, or the system reports a fault.
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
        # The mapping ends where the file did: beyond it lies other memory of this process.
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
                # Pages beyond the end of a truncated file, or a system that forbids the call:
                # plain reads give the data or the error.
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
                # This goes on where a read ends early, and finds words for one that fails.
                self.read_into(out[done:end], offset)
            done = end

    def sample(self) -> bytes:
        """Bytes from 16 places spread over the file, its start and its end among them.

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
    """What is read by offset: a file, or the pieces of several."""

    def read_into(self, out: Bytes, offset: int) -> None:
        """Fills `out` with the bytes at `offset`."""

    def gather(self, offsets: Offsets, sizes: int, out: Bytes) -> None:
        """Fills `out` with `sizes` bytes at each of `offsets`."""


def fetch(file: Gathered, offsets: Offsets, size: int, out: Bytes) -> None:
    """Fills `out` with `size` bytes at each of `offsets`: neighbours by one read.

    Raises:
        ReadError: As `File.gather`.
    """
    apart = offsets[1:] - offsets[:-1] != size
    if np.count_nonzero(apart) * 4 < len(offsets):
        breaks = np.flatnonzero(apart) + 1
        for first, last in itertools.pairwise([0, *breaks.tolist(), len(offsets)]):
            file.read_into(out[first * size : last * size], int(offsets[first]))
    else:
        file.gather(offsets, size, out)


def _joined(starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> Iterator[list[int]]:
    """Joins pieces, ascending by start, that lie less than a page apart."""
    ends = np.maximum.accumulate(ends)
    apart = np.flatnonzero(starts[1:] - ends[:-1] >= mmap.PAGESIZE)
    firsts, lasts = np.append(0, apart + 1), np.append(apart, len(starts) - 1)
    return iter(np.stack([starts[firsts], ends[lasts]], axis=1).tolist())


def opening_error(path: str, error: OSError) -> HeadraceError:
    """The error for a file that the system did not open."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        missing = MissingFileError(f"There is no file at {path!r}.{_near(Path(path))}")
        return with_number(missing, error)
    if isinstance(error, PermissionError):
        text = f"No permission to read {path!r}. Ask its owner, or copy it to a place of your own."
        return with_number(NoPermissionError(text), error)
    return read_error(f"Opening {path!r}", error)


def _near(path: Path) -> str:
    """What a person may have meant by a path at which there is no file."""
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
    """`process_vm_writev` on this process itself: the kernel gathers from mapped memory.

    About as fast as reading mapped memory directly, without its danger: where the
    file was truncated under the mapping, the call stops short, while a plain access would
    kill the process with SIGBUS. Writing into one long piece is twice as fast as
    `process_vm_readv` from many short ones, because it is the other side's pages, here those
    of `out`, that the kernel has to look up and pin one by one.
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

"""Direct I/O: writes and reads that bypass the page cache.

A file that is larger than memory gains nothing from the page cache, and allocating pages for all of
it takes more CPU time than the disk takes. On file systems without direct I/O, plain reads and
writes are used.
"""

import errno
import hashlib
import mmap
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headrace.writing.flushing import FileFlusher

Array = npt.NDArray[Any]

PAGE = 4096
"""Bytes. Offsets, lengths and addresses must be multiples of this, the largest block of disks."""

LEAST_BYTES = 1 << 16
MOST_BYTES = 1 << 22
"""Bytes of a buffer, which are written at once."""


def write_at(descriptor: int, values: Array, place: int) -> None:
    """Writes all bytes of a C-contiguous array at an offset of a file."""
    data = values.reshape(-1).view(np.uint8).data
    while len(data):
        written = os.pwrite(descriptor, data, place)
        data = data[written:]
        place += written


class Stretches:
    """Parts of a file, each of which is written sequentially.

    Args:
        path: The file.
        starts: The offset of each part, by its name: multiples of `PAGE`.
        sizes: Bytes of the buffer of each part; parts without one use the page cache.
        digest: The digest of the file, whose bytes before the first part exist already. It is
            updated with bytes as they are written, as long as they follow its position, so that
            they need not be read again.
    """

    def __init__(
        self,
        path: Path,
        starts: Mapping[str, int],
        sizes: Mapping[str, int],
        digest: "Digest | None" = None,
    ) -> None:
        if digest is not None:
            digest.read(path, LEAST_BYTES, min(starts.values()))
        self._buffers = {name: _aligned(size) for name, size in sizes.items() if size}
        self._places = dict(starts)
        self._filled = dict.fromkeys(starts, 0)
        self._digest = digest
        with ExitStack() as ends:
            self._plain = ends.enter_context(path.open("r+b", buffering=0))
            self._direct = open_direct(path, "r+b")
            if self._direct is not None:
                ends.enter_context(self._direct)
            self._flusher = FileFlusher(path)
            ends.callback(self._flusher.close)
            self._thread = ends.enter_context(ThreadPoolExecutor(1, "headrace-digest"))
            self._ends = ends.pop_all()

    def put(self, name: str, values: Array) -> None:
        """Writes the next bytes of a part.

        Args:
            name: The name of the part.
            values: A C-contiguous array.
        """
        data = values.reshape(-1).view(np.uint8)
        buffer = self._buffers.get(name)
        if buffer is None:
            self._write_plain(name, data)
            return
        while len(data):
            filled = self._filled[name]
            some = data[: len(buffer) - filled]
            buffer[filled : filled + len(some)] = some
            self._filled[name] = filled + len(some)
            data = data[len(some) :]
            if self._filled[name] == len(buffer):
                self._write(name, buffer)

    def close(self) -> None:
        """Writes the bytes left in buffers, and closes the file.

        Raises:
            OSError: If the bytes do not reach the disk.
        """
        with self._ends:
            for name, filled in self._filled.items():
                if filled:
                    # Part of a page, which direct I/O cannot write.
                    self._write_plain(name, self._buffers[name][:filled])

    def _write(self, name: str, data: npt.NDArray[np.uint8]) -> None:
        place = self._places[name]
        hashed = None
        if self._digest is not None and self._digest.place == place:
            hashed = self._thread.submit(self._digest.update, data)
        written = 0 if self._direct is None else _write_direct(self._direct.fileno(), data, place)
        self._places[name] += written
        self._filled[name] = 0
        if written < len(data):
            self._write_plain(name, data[written:])
        if hashed is not None:
            hashed.result()

    def _write_plain(self, name: str, data: npt.NDArray[np.uint8]) -> None:
        write_at(self._plain.fileno(), data, self._places[name])
        self._places[name] += len(data)
        self._flusher.note(len(data))


def _write_direct(descriptor: int, data: npt.NDArray[np.uint8], place: int) -> int:
    """Writes whole pages past the page cache; returns the bytes that were written."""
    done = 0
    while done < len(data):
        try:
            written = os.pwrite(descriptor, data[done:].data, place + done)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return done
        done += written
        if written % PAGE:
            return done
    return done


def sha256_of(path: Path, buffer_bytes: int = MOST_BYTES) -> str:
    """The SHA-256 of a file, as hex digits; see `Digest.read`."""
    digest = Digest()
    digest.read(path, buffer_bytes)
    return str(digest)


class Digest:
    """The SHA-256 of a file, computed from bytes as they are written to it or read from it.

    Attributes:
        place: The number of bytes digested so far.
    """

    def __init__(self) -> None:
        self.place = 0
        self._sha = hashlib.sha256()

    def update(self, data: npt.NDArray[np.uint8]) -> None:
        """Digests the next bytes of the file."""
        self._sha.update(data.data)
        self.place += len(data)

    def read(self, path: Path, buffer_bytes: int = MOST_BYTES, stop: int | None = None) -> None:
        """Reads and digests the file from `place` on.

        Args:
            path: The file.
            buffer_bytes: Bytes of each of two buffers: one is filled while the other is digested.
            stop: The offset to stop at; None for the end of the file.
        """
        buffers = [_aligned(max(PAGE, buffer_bytes // PAGE * PAGE)) for _ in range(2)]
        stop = path.stat().st_size if stop is None else stop
        with ExitStack() as ends:
            plain = ends.enter_context(path.open("rb", buffering=0))
            direct = open_direct(path, "rb")
            files = [plain] if direct is None else [ends.enter_context(direct), plain]
            numbers = [file.fileno() for file in files]
            thread = ends.enter_context(ThreadPoolExecutor(1, "headrace-read"))
            coming = thread.submit(_read, numbers, buffers[0], self.place)
            while count := min(coming.result(), stop - self.place):
                full, free = buffers
                coming = thread.submit(_read, numbers, free, self.place + count)
                self.update(full[:count])
                buffers = [free, full]

    def __str__(self) -> str:
        return self._sha.hexdigest()


def _read(descriptors: Sequence[int], buffer: npt.NDArray[np.uint8], place: int) -> int:
    """Reads through the first descriptor, or the last one if direct I/O is not possible."""
    try:
        return os.preadv(descriptors[0], [buffer.data], place)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.preadv(descriptors[-1], [buffer.data], place)


def open_direct(path: Path, mode: Literal["rb", "r+b"]) -> FileIO | None:
    """Opens a file for direct I/O; None if the file system does not support it."""
    if not hasattr(os, "O_DIRECT"):
        return None
    import fcntl

    with ExitStack() as ends:
        file = ends.enter_context(path.open(mode, buffering=0))
        try:
            fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return None
        ends.pop_all()
        return file


def _aligned(size: int) -> npt.NDArray[np.uint8]:
    """Memory that starts at a page boundary."""
    return np.frombuffer(mmap.mmap(-1, size), np.uint8)

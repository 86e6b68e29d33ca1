"""One file on disk: positional reads that hold no lock, and many small reads in one call."""

import ctypes
import mmap
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.errors import ChangedFileError, MissingFileError, NoPermissionError, ReadError

Bytes = npt.NDArray[np.uint8]

_IOV_MAX = 1024


class Identity(NamedTuple):
    """What tells whether a file is still the one that was opened."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Identity":
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class File:
    """A file that is read by offset, from any number of threads and processes.

    Opened at the first read and again after a pickle; a fork shares the
    descriptor, which is safe because no read moves it.

    Args:
        path: The file.

    Raises:
        MissingFileError: If there is no such file.
        NoPermissionError: If it may not be read.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self.identity = Identity.of(os.stat(path))
        except FileNotFoundError:
            raise MissingFileError(f"There is no file at {path!r}.") from None
        except PermissionError:
            raise NoPermissionError(f"No permission to look at {path!r}.") from None
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._mapping: tuple[mmap.mmap, int] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "identity": self.identity}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    @property
    def descriptor(self) -> int:
        """The open file descriptor."""
        if self._descriptor is None:
            with self._lock:
                if self._descriptor is None:
                    try:
                        descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
                    except FileNotFoundError:
                        raise MissingFileError(f"There is no file at {self.path!r}.") from None
                    except PermissionError:
                        raise NoPermissionError(f"No permission to read {self.path!r}.") from None
                    weakref.finalize(self, os.close, descriptor)
                    self._descriptor = descriptor
        return self._descriptor

    def check_unchanged(self) -> None:
        """Makes sure that what was read came from the file that was opened.

        Raises:
            ChangedFileError: If its size or its modification time is another one now.
        """
        now = Identity.of(os.fstat(self.descriptor))
        if now != self.identity:
            what = (
                f"had {self.identity.size} bytes and now has {now.size}"
                if now.size != self.identity.size
                else "was written to"
            )
            raise ChangedFileError(
                f"{self.path!r} {what} since it was opened; what was read may be mixed. "
                "Open the data again once nothing writes to the file."
            )

    def read_into(self, out: Bytes, offset: int) -> None:
        """Fills `out` (uint8, one axis) with the bytes at `offset`.

        Raises:
            ReadError: If the file ends before, or the system reports a fault.
        """
        done = 0
        while done < out.nbytes:
            try:
                got = os.preadv(self.descriptor, [out[done:]], offset + done)
            except OSError as error:
                raise ReadError(
                    f"Reading {out.nbytes} bytes at offset {offset} of {self.path!r} failed: "
                    f"{error.strerror}."
                ) from error
            if got == 0:
                raise ReadError(
                    f"{self.path!r} ends at byte {offset + done}, but {out.nbytes} bytes were "
                    f"expected at offset {offset}: the file is truncated."
                )
            done += got

    def will_need(self, offset: int, size: int) -> None:
        """Tells the system that these bytes are read soon, so that it starts fetching them."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.descriptor, offset, size, os.POSIX_FADV_WILLNEED)

    def gather(self, offsets: npt.NDArray[np.int64], out: Bytes) -> None:
        """Fills row i of `out` (uint8, shape `(k, size)`) with the bytes at `offsets[i]`.

        One system call for up to 1,024 rows where the system has one, and a read
        for each row elsewhere.
        """
        if _copy_within_process is None:
            self._gather_one_by_one(offsets, out)
            return
        address = self._mapped_address()
        remote = np.empty((len(offsets), 2), np.uint64)
        remote[:, 0] = offsets + address
        remote[:, 1] = out.shape[1]
        for first in range(0, len(offsets), _IOV_MAX):
            some = out[first : first + _IOV_MAX]
            if not _copy_within_process(some, remote[first : first + _IOV_MAX]):
                # Pages beyond the end of a truncated file, or a system that forbids the call:
                # plain reads give the data or the error.
                self._gather_one_by_one(offsets[first : first + _IOV_MAX], some)

    def _gather_one_by_one(self, offsets: npt.NDArray[np.int64], out: Bytes) -> None:
        for row, offset in zip(out, offsets.tolist(), strict=True):
            self.read_into(row, offset)

    def _mapped_address(self) -> int:
        if self._mapping is None:
            with self._lock:
                if self._mapping is None:
                    mapping = mmap.mmap(self.descriptor, self.identity.size, prot=mmap.PROT_READ)
                    if hasattr(mmap, "MADV_RANDOM"):
                        mapping.madvise(mmap.MADV_RANDOM)
                    address = np.frombuffer(mapping, np.uint8).ctypes.data
                    self._mapping = (mapping, address)
        return self._mapping[1]


def _load_copy_within_process() -> Callable[[Bytes, npt.NDArray[np.uint64]], bool] | None:
    """`process_vm_readv` on this process itself: a gather from mapped memory by the kernel.

    As fast as reading mapped memory nearly is, without its danger: where the
    file was truncated under the mapping, the call stops short, while a plain access would
    kill the process with SIGBUS.
    """
    try:
        call = ctypes.CDLL(None, use_errno=True).process_vm_readv
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

    def copy(out: Bytes, remote: npt.NDArray[np.uint64]) -> bool:
        local = np.array([[out.ctypes.data, out.nbytes]], np.uint64)
        copied = call(os.getpid(), local.ctypes.data, 1, remote.ctypes.data, len(remote), 0)
        return bool(copied == out.nbytes)

    source = np.arange(16, dtype=np.uint8)
    target = np.zeros((1, 16), np.uint8)
    works = copy(target, np.array([[source.ctypes.data, 16]], np.uint64))
    return copy if works and (target[0] == source).all() else None


_copy_within_process = _load_copy_within_process()

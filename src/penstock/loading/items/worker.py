"""What a worker process runs: it has a copy of the object, and makes batches on request."""

import contextlib
import hashlib
import os
import pickle
import random
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

from penstock.loading.items.making import make
from penstock.loading.items.threads import end

DIGEST_ELEMENTS = 1 << 18
"""Elements of an array that are compared: enough to tell two orders of it apart, and quick."""


STARTING = -1
"""The number of the request that is not sent: to make the object."""


def run(connection: Connection, payload: bytes, seed: int) -> None:
    """Answers requests until the other side is gone.

    Each request has a number, and each answer is `(number, kind, content)`; a batch comes as its
    pickle, and its arrays follow in shared memory, or behind it where there is no room.
    """
    # Ctrl-C goes to every process in the terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        items = pickle.loads(payload)  # noqa: S301 - the parent's own
        connection.send((STARTING, "ready", len(items)))
    except BaseException as error:  # noqa: BLE001 - relayed
        connection.send((STARTING, "failed", _told(error)))
        with contextlib.suppress(EOFError, OSError):
            connection.recv()  # until the parent, which has the error now, is done with this
        return
    copy = _Copy(connection, items, seed)
    with contextlib.suppress(EOFError, OSError):  # the parent has gone
        while True:
            number, request = connection.recv()
            try:
                copy.answer(number, *request)
            except BaseException as error:  # noqa: BLE001 - relayed
                connection.send((number, "failed", _told(error)))


def _end_with_the_parent() -> None:
    """Ends this process when the parent is gone, whatever it is doing."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _Copy:
    """The copy of the object, and the memory that its batches are put into."""

    def __init__(self, connection: Connection, items: Any, seed: int) -> None:
        self._connection = connection
        self._items = items
        self._seed = seed
        self._blocks: dict[str, SharedMemory] = {}

    def answer(self, number: int, kind: str, epoch: int, *details: Any) -> None:
        """Does what was asked for, and sends what came of it."""
        if kind == "item":
            self._make(number, epoch, *details)
            return
        _sow(self._seed, epoch, kind)
        state = None
        if kind == "begin":
            self._items.on_epoch_begin()
        else:
            state = _turn(self._items)
        self._connection.send((number, "done", (state, len(self._items))))

    def _make(
        self, request: int, epoch: int, number: int, wanted: Any, name: str | None, room: int
    ) -> None:
        _sow(self._seed, epoch, number)
        buffers: list[pickle.PickleBuffer] = []
        batch = make(self._items, wanted, number)
        head = pickle.dumps(batch, protocol=5, buffer_callback=buffers.append)
        pieces = [buffer.raw() for buffer in buffers]
        sizes = [piece.nbytes for piece in pieces]
        fits = name is not None and sum(sizes) <= room
        if fits:
            assert name is not None
            shared = self._block(name, room).buf
            assert shared is not None
            start = 0
            for piece in pieces:
                # NumPy copies without the GIL, and faster than a slice of a memoryview.
                target = np.frombuffer(shared, np.uint8, piece.nbytes, start)
                target[:] = np.frombuffer(piece, np.uint8)
                start += piece.nbytes
            del target, shared
        self._connection.send((request, "made", (head, sizes, fits)))
        if not fits:
            for piece in pieces:
                self._connection.send_bytes(piece)

    def _block(self, name: str, room: int) -> SharedMemory:
        """The block of a name; those that are too small now have been replaced."""
        if name not in self._blocks:
            for other in [key for key, block in self._blocks.items() if block.size < room]:
                self._blocks.pop(other).close()
            self._blocks[name] = SharedMemory(name)
        return self._blocks[name]


def _sow(seed: int, epoch: int, what: int | str) -> None:
    """Makes random numbers a function of the batch, whichever process makes it."""
    words = hashlib.blake2b(f"{seed} {epoch} {what}".encode(), digest_size=8).digest()
    random.seed(words)
    np.random.seed(int.from_bytes(words[:4], "little"))  # noqa: NPY002 - what old code uses
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(int.from_bytes(words, "little", signed=True))


def _told(error: BaseException) -> tuple[bytes | None, str, str]:
    """An error in a form that arrives: itself, if it pickles; what it says; its traceback."""
    said = f"{type(error).__name__}: {error}"
    trace = "".join(traceback.format_exception(error))
    try:
        return pickle.dumps(error), said, trace
    except Exception:  # noqa: BLE001 - anything may go wrong in somebody's own class
        return None, said, trace


def _turn(items: Any) -> str:
    """Calls `on_epoch_end`; returns a short text that differs where orders differ after it.

    What copies were asked for, and may have noted, differs from one to the next. So only what the
    call itself changed is compared, and only what can be an order: arrays, tensors, and lists of
    numbers or names, unless they have grown.
    """
    before = dict(_orders(items))
    end(items)
    changed = [
        (name, digest)
        for name, (length, digest) in _orders(items)
        if before.get(name) != (length, digest) and before.get(name, (length,))[0] == length
    ]
    return hashlib.blake2b(repr(changed).encode(), digest_size=16).hexdigest()


def _orders(items: Any) -> Iterator[tuple[str, tuple[int, bytes]]]:
    """What can be an order among an object's attributes: its length and a digest."""
    for name, value in sorted(getattr(items, "__dict__", {}).items()):
        if isinstance(value, (list, tuple, range)):
            kinds = set(map(type, value))
            if len(kinds) == 1 and issubclass(kinds.pop(), (int, str, os.PathLike, np.integer)):
                yield name, (len(value), hashlib.blake2b(repr(value).encode()).digest())
            continue
        # A data frame is reordered together with its index.
        index = getattr(value, "index", None)
        value = value if index is None or callable(index) else index
        if not hasattr(value, "shape") or not hasattr(value, "__array__"):
            continue
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        if array.ndim and not array.dtype.hasobject:
            step = max(1, array.size // DIGEST_ELEMENTS)
            some = np.ascontiguousarray(array.ravel("K")[::step])
            yield name, (len(array), hashlib.blake2b(some.data.cast("B")).digest())

"""What a worker process runs: it has a copy of the object, and makes batches on request."""

import hashlib
import pickle
import random
import signal
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

DIGEST_ELEMENTS = 1 << 18
"""Elements of an array that are compared: enough to tell two orders of it apart, and quick."""


def run(connection: Connection, payload: bytes, seed: int) -> None:
    """Answers requests until the other side is gone.

    Each answer is `(kind, content)`; a batch comes as its pickle, and its arrays follow in shared
    memory, or behind it where there is no room.
    """
    # Ctrl-C goes to every process in the terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    blocks: dict[str, SharedMemory] = {}
    try:
        try:
            items = pickle.loads(payload)  # noqa: S301 - the parent's own
            connection.send(("ready", len(items)))
        except BaseException as error:  # noqa: BLE001 - relayed
            connection.send(("failed", _told(error)))
            connection.recv()  # until the parent, which has the error now, is done with this
            return
        while True:
            request = connection.recv()
            try:
                if request[0] == "turn":
                    _sow(seed, request[1], -1)
                    connection.send(("turned", (_turn(items), len(items))))
                else:
                    _, epoch, number, wanted, name, room = request
                    _sow(seed, epoch, number)
                    _make(connection, items, number, wanted, blocks, name, room)
            except BaseException as error:  # noqa: BLE001 - relayed
                connection.send(("failed", _told(error)))
    except (EOFError, OSError):
        pass  # the parent has gone
    finally:
        for block in blocks.values():
            block.close()


def _make(
    connection: Connection,
    items: Any,
    number: int,
    wanted: Any,
    blocks: dict[str, SharedMemory],
    name: str | None,
    room: int,
) -> None:
    from penstock.loading.items import make

    buffers: list[pickle.PickleBuffer] = []
    batch = make(items, wanted, number)
    head = pickle.dumps(batch, protocol=5, buffer_callback=buffers.append)
    pieces = [buffer.raw() for buffer in buffers]
    sizes = [piece.nbytes for piece in pieces]
    fits = name is not None and sum(sizes) <= room
    if fits:
        assert name is not None
        if name not in blocks:
            blocks[name] = SharedMemory(name)
        shared = blocks[name].buf
        assert shared is not None
        start = 0
        for piece in pieces:
            # NumPy copies without the GIL, and faster than a slice of a memoryview.
            target = np.frombuffer(shared, np.uint8, piece.nbytes, start)
            target[:] = np.frombuffer(piece, np.uint8)
            start += piece.nbytes
        del target, shared
    connection.send(("made", (head, sizes, fits)))
    if not fits:
        for piece in pieces:
            connection.send_bytes(piece)


def _sow(seed: int, epoch: int, number: int) -> None:
    """Makes random numbers a function of the batch, whichever process makes it."""
    words = hashlib.blake2b(f"{seed} {epoch} {number}".encode(), digest_size=8).digest()
    random.seed(words)
    np.random.seed(int.from_bytes(words[:4], "little"))  # noqa: NPY002 - what old code uses


def _told(error: BaseException) -> tuple[bytes | None, str]:
    """An error in a form that arrives: itself, if it can be pickled, and its traceback."""
    text = "".join(traceback.format_exception(error))
    try:
        return pickle.dumps(error), text
    except Exception:  # noqa: BLE001 - anything may go wrong in somebody's own class
        return None, text


def _turn(items: Any) -> str:
    """Calls `on_epoch_end`; returns a short text that differs where it did different things.

    What copies were asked for, and may have noted, differs from one to the next. So only what the
    call itself changed is compared: arrays and lists, in which orders of indices are kept.
    """
    before = dict(_digests(items))
    items.on_epoch_end()
    changed = [one for one in _digests(items) if before.get(one[0]) != one[1]]
    return hashlib.blake2b(repr(changed).encode(), digest_size=16).hexdigest()


def _digests(items: Any) -> Iterator[tuple[str, bytes]]:
    """The arrays and lists of an object, by a digest of each; of large ones, of some places."""
    for name, value in sorted(getattr(items, "__dict__", {}).items()):
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            step = max(1, value.size // DIGEST_ELEMENTS)
            some = np.ascontiguousarray(value.ravel("K")[::step])
            yield name, hashlib.blake2b(some.data).digest()
        elif isinstance(value, (list, tuple, range)):
            yield name, hashlib.blake2b(repr(value).encode()).digest()

"""The main loop of a worker process: makes batches of its copy of the object on request."""

import contextlib
import faulthandler
import hashlib
import os
import pickle
import random
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

from headrace.loading.items.batch import batch_name, make_batch
from headrace.loading.items.failures import as_error, pickled, text_of, trace_of
from headrace.loading.items.threads import call

DIGEST_ELEMENTS = 1 << 18
"""Elements of an array that are hashed: enough to tell two orders apart, and fast."""

_SEED_WORDS = {"on_epoch_begin": "begin", "on_epoch_end": "turn"}
"""Part of the seeds: other words would change the orders of existing programs."""

STACK_SIGNAL: int | None = getattr(signal, "SIGUSR2", None)
"""On this signal a worker writes the stacks of its threads at any time; None on Windows."""
if hasattr(signal, "SIGRTMAX"):
    # A signal that few programs use.
    STACK_SIGNAL = signal.SIGRTMAX - 3


def run(connection: Connection, stacks: Connection, seed: int) -> None:
    """Answers requests until the parent closes the pipe.

    The first message is the pickle of the object, and is answered with its length. Each request
    after it has one answer, a tuple that begins with its kind. A batch comes as its pickle, and
    its arrays follow in shared memory, or behind it where there is no room. An error comes in two
    messages: the pickle of the error itself is made last, since that runs code of its class.

    Args:
        connection: Takes requests and gives answers.
        stacks: Where the stacks of all threads are written: at `STACK_SIGNAL`, and in a crash.
        seed: Seed of random numbers.
    """
    # Ctrl-C goes to every process in the terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if STACK_SIGNAL is not None:
        # A crashing process must not wait for the parent: what does not fit into the pipe is lost.
        os.set_blocking(stacks.fileno(), False)
        faulthandler.enable(stacks.fileno())
        faulthandler.register(STACK_SIGNAL, stacks.fileno())
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # the parent has gone
        payload = connection.recv_bytes()
        try:
            items = pickle.loads(payload)  # noqa: S301 - the parent's own
            del payload
            answer = ("ready", len(items))
        except BaseException as error:  # noqa: BLE001 - relayed
            _send_error(connection, error, "starting")
            return
        connection.send(answer)
        copy = _ObjectCopy(connection, items, seed)
        while True:
            copy.answer(*connection.recv())


def _end_with_the_parent() -> None:
    """Ends this process at once when the parent has ended."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _ObjectCopy:
    """This process's copy of the object, and the shared memory for its batches."""

    def __init__(self, connection: Connection, items: Any, seed: int) -> None:
        self._connection = connection
        self._items = items
        self._seed = seed
        self._shared: SharedMemory | None = None

    def answer(self, kind: str, epoch: int, *details: Any) -> None:
        """Serves one request, and sends the answer."""
        doing = f"making {batch_name(*details[:2])}" if kind == "item" else kind
        try:
            if kind == "item":
                answer, pieces = self._make(epoch, *details)
            else:
                answer, pieces = self._tell(epoch, kind), []
        except BaseException as error:  # noqa: BLE001 - relayed
            _send_error(self._connection, error, doing)
            return
        # An error from here on would leave an incomplete answer in the pipe: it ends the process.
        self._connection.send(answer)
        for piece in pieces:
            self._connection.send_bytes(piece)

    def _tell(self, epoch: int, name: str) -> tuple[Any, ...]:
        _seed_generators(self._seed, epoch, _SEED_WORDS[name])
        state = _changes(self._items, name)
        return "done", state, len(self._items)

    def _make(
        self, epoch: int, indices: Any, number: int, name: str | None, room: int
    ) -> tuple[tuple[Any, ...], list[memoryview]]:
        """The answer, and the arrays that follow it if they do not fit into shared memory."""
        _seed_generators(self._seed, epoch, number)
        buffers: list[pickle.PickleBuffer] = []
        batch = make_batch(self._items, indices, number)
        head = pickle.dumps(batch, protocol=5, buffer_callback=buffers.append)
        pieces = [buffer.raw() for buffer in buffers]
        sizes = [piece.nbytes for piece in pieces]
        if name is None or sum(sizes) > room:
            return ("made", head, sizes, False), pieces
        shared = self._block(name).buf
        assert shared is not None
        start = 0
        for piece in pieces:
            # NumPy copies without the GIL, and faster than a slice of a memoryview.
            target = np.frombuffer(shared, np.uint8, piece.nbytes, start)
            target[:] = np.frombuffer(piece, np.uint8)
            start += piece.nbytes
        return ("made", head, sizes, True), []

    def _block(self, name: str) -> SharedMemory:
        """Opens a block by name, and closes the previous one."""
        if self._shared is None or self._shared.name != name:
            if self._shared is not None:
                self._shared.close()
            self._shared = SharedMemory(name)
        return self._shared


def _send_error(connection: Connection, error: BaseException, doing: str) -> None:
    error = as_error(error, doing)
    connection.send(("failing", text_of(error), trace_of(error)))
    connection.send(("failed", pickled(error)))


def _seed_generators(seed: int, epoch: int, what: int | str) -> None:
    """Seeds the global generators, so that random numbers do not depend on the process."""
    words = hashlib.blake2b(f"{seed} {epoch} {what}".encode(), digest_size=8).digest()
    random.seed(words)
    np.random.seed(int.from_bytes(words[:4], "little"))  # noqa: NPY002 - what old code uses
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(int.from_bytes(words, "little", signed=True))


def _changes(items: Any, name: str) -> str:
    """Calls `on_epoch_begin` or `on_epoch_end`; returns a digest of the orders it changed.

    Copies serve different requests, and may record them. So only attributes that the call itself
    changed are compared, and only those that can be an order: arrays, tensors, and lists of
    numbers or names whose length is unchanged.
    """
    before = dict(_orders(items))
    call(items, name)
    changed = [
        (name, digest)
        for name, (length, digest) in _orders(items)
        if before.get(name) != (length, digest) and before.get(name, (length,))[0] == length
    ]
    return hashlib.blake2b(repr(changed).encode(), digest_size=16).hexdigest()


def _orders(items: Any) -> Iterator[tuple[str, tuple[int, bytes]]]:
    """Attributes of an object that can be an order: name, length and digest."""
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

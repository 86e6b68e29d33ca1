"""Worker processes that make batches, and send them through shared memory.

They are spawned and never forked: a fork copies locks that other threads hold, JAX's among them.
The object is pickled once, and goes to each of them when it starts. A thread here takes what they
send and notices when one has ended.
"""

import contextlib
import itertools
import os
import pickle
import signal
import threading
import warnings
from collections import deque
from concurrent.futures import Future
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

from penstock.errors import OptionError, ReadError
from penstock.loading import worker

JOIN_SECONDS = 2.0
"""How long a worker may take to end by itself."""


class _Worker:
    """One process, and what it was asked for, in that order."""

    def __init__(self, payload: bytes, seed: int) -> None:
        context = get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(
            target=worker.run, args=(other, payload, seed), daemon=True, name="penstock-worker"
        )
        self.process.start()
        other.close()
        self.asked: deque[tuple[str, Future[Any], SharedMemory | None]] = deque()
        self.ready: Future[Any] = Future()
        self.asked.append(("starting", self.ready, None))


class Workers:
    """Processes that have a copy of an object each.

    Args:
        items: The object; has to be picklable.
        count: How many processes.
        seed: Of their random numbers.

    Raises:
        OptionError: If the object does not pickle.
        ReadError: If a process ends, or cannot make the object.
    """

    def __init__(self, items: Any, count: int, seed: int) -> None:
        try:
            payload = pickle.dumps(items, protocol=5)
        except Exception as error:
            raise OptionError(
                f"processes=True sends the {type(items).__name__} to other processes, and it does "
                f"not pickle: {error}. Open files and make locks where they are used, define it in "
                "a module, or leave processes=True out."
            ) from error
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._room = 0
        self._shared = True
        self._free: list[SharedMemory] = []
        self._all: dict[str, SharedMemory] = {}
        self._broken: BaseException | None = None
        self._closing, self._told_to_close = get_context("spawn").Pipe(duplex=False)
        self._workers = [_Worker(payload, seed) for _ in range(count)]
        self._thread = threading.Thread(target=self._receive, name="penstock-receiver", daemon=True)
        self._thread.start()
        try:
            self._length = {one.ready.result() for one in self._workers}.pop()
        except BaseException:
            self.close()
            raise

    def length(self) -> int:
        """How many items the object has now."""
        return int(self._length)

    def submit(self, epoch: int, number: int, wanted: Any) -> "Future[Any]":
        """Has batch `number` made."""
        with self._lock:
            self._check_whole()
            block = self._block()
            name, room = (block.name, block.size) if block else (None, 0)
            chosen = min(self._workers, key=lambda one: len(one.asked))
            what = f"making batch {number}"
            return self._ask(chosen, what, ("item", epoch, number, wanted, name, room), block)

    def turn(self, epoch: int) -> None:
        """Calls `on_epoch_end` in every process.

        Raises:
            OptionError: If it left the copies in different states.
        """
        with self._lock:
            self._check_whole()
            asked = [self._ask(one, "on_epoch_end", ("turn", epoch), None) for one in self._workers]
        found = {future.result() for future in asked}
        if len(found) > 1:
            raise OptionError(
                "on_epoch_end() left the copies of the object in different states, so that batches "
                "would come twice and others never. Draw random numbers from a generator that the "
                "object keeps, or from numpy.random or random; or leave processes=True out."
            )
        ((_, self._length),) = found

    def _check_whole(self) -> None:
        if self._broken is not None:
            raise self._broken

    def _ask(
        self, one: _Worker, what: str, request: Any, block: SharedMemory | None
    ) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # a request that was sent cannot be taken back
        one.asked.append((what, future, block))
        # Where the process has ended, the receiver finds out and says so.
        with contextlib.suppress(OSError):
            one.connection.send(request)
        return future

    # Shared memory: as much for each batch as the largest so far took.

    def _block(self) -> SharedMemory | None:
        """A block for one batch; None as long as nobody knows how large they are."""
        while self._free:
            block = self._free.pop()
            if block.size >= self._room:
                return block
            self._remove(block)
        if not self._room or not self._shared:
            return None
        try:
            block = SharedMemory(create=True, size=self._room)
            # Otherwise a full file system kills whoever writes to it.
            if hasattr(os, "posix_fallocate") and hasattr(block, "_fd"):
                os.posix_fallocate(block._fd, 0, self._room)
        except OSError as error:
            self._shared = False
            warnings.warn(
                f"There is no shared memory for batches of {self._room} bytes ({error.strerror}): "
                "they come through pipes, slower. In a container, allow more of it (--shm-size).",
                stacklevel=2,
            )
            return None
        self._all[block.name] = block
        return block

    def _remove(self, block: SharedMemory) -> None:
        self._all.pop(block.name, None)
        block.close()
        block.unlink()

    # What the receiving thread does.

    def _receive(self) -> None:
        by_connection = {one.connection: one for one in self._workers}
        by_sentinel = {one.process.sentinel: one for one in self._workers}
        while self._broken is None:
            found = wait([self._closing, *by_connection, *by_sentinel])
            if self._closing in found:
                return
            for one in self._workers:
                if one.connection in found:
                    try:
                        self._take(one)
                    except (EOFError, OSError):
                        by_connection.pop(one.connection, None)
            for sentinel, one in by_sentinel.items():
                # What it sent before it ended comes first.
                if sentinel in found and one.connection not in by_connection:
                    self._break(one)
                    break

    def _take(self, one: _Worker) -> None:
        kind, content = one.connection.recv()
        what, future, block = one.asked[0]
        try:
            made = kind == "made"
            result = self._batch(one.connection, content, block) if made else content
        except (EOFError, OSError):
            raise
        except BaseException as error:  # noqa: BLE001 - relayed
            kind, result = "failed", (None, repr(error))
        with self._lock:
            one.asked.popleft()
            if block is not None:
                self._free.append(block)
        if kind == "failed":
            future.set_exception(_error_of(what, *result))
        else:
            future.set_result(result)

    def _batch(self, connection: Connection, content: Any, block: SharedMemory | None) -> Any:
        head, sizes, in_block = content
        total = sum(sizes)
        if total > self._room:
            with self._lock:
                self._room = max(self._room, total)
        if not in_block:
            buffers: list[Any] = [bytearray(connection.recv_bytes()) for _ in sizes]
            return pickle.loads(head, buffers=buffers)  # noqa: S301 - the worker's own
        assert block is not None
        assert block.buf is not None
        memory = np.empty(total, np.uint8)
        np.copyto(memory, np.frombuffer(block.buf, np.uint8, total))
        edges = np.cumsum([0, *sizes]).tolist()
        buffers = [memory[a:b] for a, b in itertools.pairwise(edges)]
        return pickle.loads(head, buffers=buffers)  # noqa: S301 - the worker's own

    def _break(self, one: _Worker) -> None:
        """Tells everybody who waits that a process has ended."""
        one.process.join()
        code = one.process.exitcode or 0
        with self._lock:
            doing = one.asked[0][0] if one.asked else "idle"
            how = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with code {code}"
            hint = ""
            if doing == "starting":
                hint = (
                    " A program that starts processes has to do so below "
                    "if __name__ == '__main__':, because they import it as well."
                )
            elif code == -signal.SIGKILL:
                hint = " The system does that when memory runs out: use fewer workers."
            elif code == -signal.SIGBUS:
                hint = " Its shared memory may be full: in a container, allow more (--shm-size)."
            self._broken = ReadError(f"A worker process {how} while {doing}.{hint}")
            waiting = [future for other in self._workers for _, future, _ in other.asked]
            for other in self._workers:
                other.asked.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(self._broken)

    def close(self) -> None:
        """Ends the processes."""
        if self._pid != os.getpid():
            return
        with contextlib.suppress(OSError):
            self._told_to_close.send(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()
        with self._lock:
            self._broken = self._broken or ReadError("The loader was closed. Make a new one.")
        for one in self._workers:
            one.connection.close()
            one.process.terminate()
        for one in self._workers:
            one.process.join(JOIN_SECONDS)
            if one.process.is_alive():
                one.process.kill()
                one.process.join()
            for _, future, _ in one.asked:
                if not future.done():
                    future.set_exception(self._broken)
        for block in list(self._all.values()):
            self._remove(block)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _error_of(what: str, pickled: bytes | None, text: str) -> BaseException:
    """The error that a worker had, with its traceback there as a note."""
    error: Any = None
    if pickled is not None:
        with contextlib.suppress(Exception):
            error = pickle.loads(pickled)  # noqa: S301 - the worker's own
    if not isinstance(error, Exception):
        error = ReadError(f"A worker process failed while {what}: {text.strip().splitlines()[-1]}")
    error.add_note(f"in a worker process, while {what}:\n{text}")
    return error  # type: ignore[no-any-return]

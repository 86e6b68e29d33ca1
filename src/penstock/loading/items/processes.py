"""Worker processes that make batches, and send them through shared memory.

They are spawned and never forked: a fork copies locks that other threads hold, JAX's among them.
The object is pickled once, and goes to each of them when it starts. A thread here takes what they
send, notices when one has ended, and ends them all when they are no longer needed.
"""

import atexit
import contextlib
import itertools
import os
import pickle
import signal
import sys
import threading
import time
import warnings
import weakref
from concurrent.futures import Future, InvalidStateError
from multiprocessing import current_process, get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np

from penstock.errors import OptionError, PenstockError, ReadError
from penstock.loading.items import worker

JOIN_SECONDS = 2.0
"""How long a worker may take to end by itself."""

_PAUSE_SECONDS = 0.001

Asked = tuple[str, "Future[Any]", SharedMemory | None]


class _Worker:
    """One process, and what it was asked for, by the number of the request."""

    def __init__(self, payload: bytes, seed: int) -> None:
        context = get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(
            target=worker.run, args=(other, payload, seed), daemon=True, name="penstock-worker"
        )
        self.process.start()
        other.close()
        self.sending = threading.Lock()
        self.ready: Future[Any] = Future()
        self.asked: dict[int, Asked] = {worker.STARTING: ("starting", self.ready, None)}


class Workers:
    """Processes that have a copy of an object each.

    Args:
        items: The object; has to be picklable.
        count: How many processes.
        seed: Of their random numbers.

    Raises:
        OptionError: If the object does not pickle, or this process can start none.
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
        _check_can_start(type(items), b"__main__" in payload)
        self._pid = os.getpid()
        # Guards the blocks and `_broken`. Nobody sends or waits while he holds it.
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._room = 0
        self._shared = True
        self._free: list[SharedMemory] = []
        self._all: dict[str, SharedMemory] = {}
        self._broken: PenstockError | None = None
        self._closing, self._told_to_close = get_context("spawn").Pipe(duplex=False)
        self._workers: list[_Worker] = []
        self._thread = threading.Thread(target=self._receive, name="penstock-receiver", daemon=True)
        try:
            for _ in range(count):
                self._workers.append(_Worker(payload, seed))
        finally:
            # It also ends those that have started if another could not.
            self._thread.start()
            if len(self._workers) < count:
                self.close()
        _pools.add(self)
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
        self._check_own()
        with self._lock:
            self._check_whole()
            block = self._block()
        name, room = (block.name, block.size) if block else (None, 0)
        chosen = min(self._workers, key=lambda one: len(one.asked))
        request = ("item", epoch, number, wanted, name, room)
        return self._ask(chosen, f"making batch {number}", request, block)

    def begin(self, epoch: int) -> None:
        """Calls `on_epoch_begin` in every process."""
        self._ask_all("on_epoch_begin", ("begin", epoch))

    def turn(self, epoch: int) -> None:
        """Calls `on_epoch_end` in every process.

        Raises:
            OptionError: If it left the copies in different states.
        """
        if len({state for state, _ in self._ask_all("on_epoch_end", ("turn", epoch))}) > 1:
            raise OptionError(
                "on_epoch_end() left the copies of the object in different states, so that batches "
                "would come twice and others never. Draw random numbers from a generator that the "
                "object keeps, or from numpy.random or random; or leave processes=True out."
            )

    def _ask_all(self, what: str, request: Any) -> list[tuple[Any, int]]:
        """The answers of all processes; the object's length is the last part of each."""
        self._check_own()
        with self._lock:
            self._check_whole()
        asked = [self._ask(one, what, request, None) for one in self._workers]
        answers = [future.result() for future in asked]
        self._length = answers[0][-1]
        return answers

    def _check_own(self) -> None:
        """Makes sure that this is no fork, in which a lock may never become free."""
        if self._pid != os.getpid():
            raise ReadError(
                "The worker processes belong to the process that made the loader. Make a loader in "
                "this one."
            )

    def _check_whole(self) -> None:
        if self._broken is not None:
            raise self._broken

    def _ask(
        self, one: _Worker, what: str, request: Any, block: SharedMemory | None
    ) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # a request that was sent cannot be taken back
        with one.sending:
            number = next(self._numbers)
            one.asked[number] = (what, future, block)
            try:
                one.connection.send((number, request))
            except OSError:
                pass  # the process has ended; the receiver finds out and says so
            except BaseException:
                # Half a request may be on its way.
                self._fail(ReadError(f"Was interrupted while {what}. Make a new loader."))
                raise
        if self._broken is not None:
            _set_error(future, self._broken)
        return future

    # Shared memory: as much for each batch as the largest so far took, and a little more.

    def _block(self) -> SharedMemory | None:
        """A block for one batch; None as long as nobody knows how large they are."""
        while self._free:
            free = self._free.pop()
            if free.size >= self._room:
                return free
            self._remove(free)
        if not self._room or not self._shared:
            return None
        block: SharedMemory | None = None
        try:
            block = SharedMemory(create=True, size=self._room)
            self._all[block.name] = block
            # Otherwise a full file system kills whoever writes to it.
            if hasattr(os, "posix_fallocate") and hasattr(block, "_fd"):
                os.posix_fallocate(block._fd, 0, self._room)
        except OSError as error:
            self._shared = False
            if block is not None:
                self._remove(block)
            warnings.warn(
                f"There is no shared memory for batches of {self._room} bytes ({error.strerror}): "
                "they come through pipes, slower. In a container, allow more of it (--shm-size).",
                stacklevel=2,
            )
            return None
        return block

    def _remove(self, block: SharedMemory) -> None:
        self._all.pop(block.name, None)
        block.close()
        with contextlib.suppress(FileNotFoundError):
            block.unlink()

    # What the receiving thread does.

    def _receive(self) -> None:
        try:
            self._receive_until_closed()
        except BaseException as error:  # noqa: BLE001 - relayed to those who wait
            self._fail(ReadError(f"The thread that receives batches failed: {error!r}"))
        finally:
            self._end()

    def _receive_until_closed(self) -> None:
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
                    one.process.join()
                    self._fail(_reason(one))
                    break

    def _take(self, one: _Worker) -> None:
        number, kind, content = one.connection.recv()
        what, future, block = one.asked[number]
        try:
            made = kind == "made"
            result = self._batch(one.connection, content, block) if made else content
        except (EOFError, OSError):
            raise
        except BaseException as error:  # noqa: BLE001 - relayed
            kind, result = "failed", (None, repr(error), repr(error))
        del one.asked[number]
        if block is not None:
            with self._lock:
                self._free.append(block)
        if kind == "failed":
            future.set_exception(_error_of(what, *result))
        else:
            future.set_result(result)

    def _batch(self, connection: Connection, content: Any, block: SharedMemory | None) -> Any:
        head, sizes, in_block = content
        total = sum(sizes)
        if total > self._room:
            # More than that, lest batches that grow little by little need new blocks each time.
            self._room = total + total // 4
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

    def _fail(self, error: PenstockError) -> None:
        """Tells everybody who waits that there is nothing to wait for."""
        with self._lock:
            self._broken = self._broken or error
        for one in self._workers:
            for _, future, _ in list(one.asked.values()):
                _set_error(future, self._broken)

    def tell_to_close(self) -> None:
        """Has the processes ended, without waiting for it: the garbage collector calls this."""
        if self._pid == os.getpid():
            with contextlib.suppress(OSError):
                self._told_to_close.send(None)

    def close(self) -> None:
        """Ends the processes, and waits until they have ended."""
        self.tell_to_close()
        if self._pid == os.getpid():
            self._thread.join()

    def _end(self) -> None:
        self._fail(ReadError("The loader was closed. Make a new one."))
        for one in self._workers:
            one.connection.close()
            one.process.terminate()
        for one in self._workers:
            one.process.join(JOIN_SECONDS)
            if one.process.is_alive():
                one.process.kill()
                one.process.join()
        with self._lock:
            for block in list(self._all.values()):
                self._remove(block)


_pools: "weakref.WeakSet[Workers]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for pool in list(_pools):
        pool.close()


def _set_error(future: "Future[Any]", error: Exception) -> None:
    """Has whoever waits for a future get an error, unless there is a result by now."""
    with contextlib.suppress(InvalidStateError):
        future.set_exception(error)


def _check_can_start(kind: type, is_in_main: bool) -> None:
    """Makes sure that processes can be started here, and can import what they need.

    Raises:
        OptionError: If not.
    """
    if current_process().daemon:
        raise OptionError(
            "processes=True inside a worker process, which may not start others. Leave it out here."
        )
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    is_module = getattr(main, "__spec__", None) is not None
    if not is_module and (is_in_main if path is None else not Path(path).exists()):
        raise OptionError(
            f"processes=True needs the {kind.__name__} in a module that other processes can "
            "import, and this program comes from no file. Put the class into a file and import it "
            "from there, or leave processes=True out."
        )


def _reason(one: _Worker) -> ReadError:
    """Why a process has ended."""
    deadline = time.monotonic() + JOIN_SECONDS
    while (code := one.process.exitcode) is None and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)  # another thread asks the system for it at this moment
    code = code or 0
    doing = next(iter(one.asked.values()))[0] if one.asked else "idle"
    how = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with code {code}"
    hint = ""
    if doing == "starting" and code == 1:
        hint = (
            " A program that starts processes has to do so below "
            "if __name__ == '__main__':, because they import it as well."
        )
    elif code == -signal.SIGKILL:
        hint = " The system does that when memory runs out: use fewer workers."
    elif code == -signal.SIGBUS:
        hint = " Its shared memory may be full: in a container, allow more (--shm-size)."
    return ReadError(f"A worker process {how} while {doing}.{hint}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _error_of(what: str, pickled: bytes | None, said: str, trace: str) -> BaseException:
    """The error that a worker had, with its traceback there as a note."""
    error: Any = None
    if pickled is not None:
        with contextlib.suppress(Exception):
            error = pickle.loads(pickled)  # noqa: S301 - the worker's own
    if not isinstance(error, Exception):
        error = ReadError(f"A worker process failed while {what}: {said}")
    error.add_note(f"in a worker process, while {what}:\n{trace}")
    return error  # type: ignore[no-any-return]

"""Threads that call an object, and what they share with others that do."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from penstock.errors import DataError
from penstock.forks import run_in_each_process
from penstock.loading.items.making import Batch, Wanted, let_go, make

Jobs = SimpleQueue["tuple[Future[Batch], Wanted, int] | None"]


class Gate:
    """Keeps what an object does between epochs apart from the batches that it makes."""

    def __init__(self) -> None:
        run_in_each_process(self, Gate._begin_anew)

    def _begin_anew(self) -> None:
        """The threads that were inside do not exist in a forked child."""
        self._changed = threading.Condition()
        self._inside = 0
        self._shut = False

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """While a batch is being made; many may be."""
        with self._changed:
            self._changed.wait_for(lambda: not self._shut)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While no batch is being made."""
        with self._changed:
            self._changed.wait_for(lambda: not self._shut)
            self._shut = True
            self._changed.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._changed:
                self._shut = False
                self._changed.notify_all()


class Threads:
    """Calls the object in threads of this process.

    They are daemons: a program that ends does not wait for batches that nobody will take.
    """

    def __init__(self, items: Any, workers: int, gate: Gate) -> None:
        self._items = items
        self._gate = gate
        self._jobs: Jobs = SimpleQueue()
        self._workers = workers
        try:
            for number in range(workers):
                name = f"penstock-items-{number}"
                arguments = (items, gate, self._jobs)
                threading.Thread(target=_work, args=arguments, name=name, daemon=True).start()
        except BaseException:
            self.close()
            raise

    def submit(self, epoch: int, number: int, wanted: Wanted) -> "Future[Batch]":  # noqa: ARG002
        future: Future[Batch] = Future()
        self._jobs.put((future, wanted, number))
        return future

    def begin(self, epoch: int) -> None:  # noqa: ARG002 - threads share the object's own state
        with self._gate.alone():
            self._items.on_epoch_begin()

    def turn(self, epoch: int) -> None:  # noqa: ARG002
        with self._gate.alone():
            end(self._items)

    def close(self) -> None:
        for _ in range(self._workers):
            self._jobs.put(None)


def end(items: Any) -> None:
    """Tells the object that an epoch has ended.

    Raises:
        DataError: If it raises StopIteration; and whatever else it raises.
    """
    try:
        items.on_epoch_end()
    except StopIteration as error:
        raise DataError("on_epoch_end() raised StopIteration.") from error


def _work(items: Any, gate: Gate, jobs: Jobs) -> None:
    while (job := jobs.get()) is not None:
        future, wanted, number = job
        if future.set_running_or_notify_cancel():
            try:
                with gate.inside():
                    batch = let_go(make(items, wanted, number))
            except BaseException as error:  # noqa: BLE001 - relayed
                future.set_exception(error)
            else:
                future.set_result(batch)
                del batch
        # What was handed over is not kept until the next job comes.
        del job, future

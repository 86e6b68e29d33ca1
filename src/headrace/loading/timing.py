"""Counts seconds and bytes while a loader works."""

import threading
import time
from dataclasses import dataclass, field, fields
from typing import Any

from headrace.forks import run_in_each_process
from headrace.sources import ReadStats


@dataclass(eq=False)
class Timing:
    """Sums over all threads since the loader was made; seconds unless said otherwise."""

    read: float = 0.0
    decode: float = 0.0
    gather: float = 0.0
    transform: float = 0.0
    wait_for_data: float = 0.0
    wait_for_room: float = 0.0
    elapsed: float = 0.0
    bytes_read: int = 0
    bytes_decoded: int = 0
    repaired: int = 0
    repeated: int = 0
    samples: int = 0
    batches: int = 0
    epochs: int = 0
    epoch_seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        run_in_each_process(self, Timing._make_lock)

    def _make_lock(self) -> None:
        self._lock = threading.Lock()

    def add(self, **amounts: float) -> None:
        """Adds to the named sums."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)

    def add_cost(self, cost: ReadStats, gather: float = 0.0) -> None:
        """Adds what a read cost.

        Args:
            cost: Of the read.
            gather: Seconds that putting rows into batches took, the read among them.
        """
        with self._lock:
            self.read += cost.read / 1e9
            self.decode += cost.decode / 1e9
            self.bytes_read += cost.stored
            self.repaired += cost.repaired
            if gather:
                self.gather += gather - (cost.read + cost.decode) / 1e9

    def add_batches(self, batches: int, rows: int, nbytes: int, last: bool, elapsed: float) -> None:
        """Adds batches that were handed out `elapsed` seconds after those before."""
        with self._lock:
            self.samples += rows
            self.batches += batches
            self.bytes_decoded += nbytes
            self.epochs += last
            self.elapsed += elapsed

    def end_epoch(self, seconds: float) -> None:
        """Notes how long an epoch took, from its first request until its last batch was used."""
        with self._lock:
            self.epoch_seconds.append(seconds)

    def sums(self) -> dict[str, Any]:
        """All sums, by name."""
        with self._lock:
            sums = {f.name: getattr(self, f.name) for f in fields(self)}
            return {**sums, "epoch_seconds": tuple(self.epoch_seconds)}


class Stopwatch:
    """The wall time of one epoch after another: while batches are made, waited for and used.

    Args:
        timing: Where it is added up.
    """

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._began: float | None = None
        self._mark = 0.0

    def start(self) -> None:
        """An epoch begins, unless one is under way."""
        if self._began is None:
            self._began = self._mark = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last call."""
        now = time.perf_counter()
        seconds, self._mark = now - self._mark, now
        return seconds

    def stop(self) -> None:
        """The last batch of the epoch was used."""
        if self._began is not None:
            self._timing.add(elapsed=self.lap())
            self._timing.end_epoch(self._mark - self._began)
            self._began = None


class Ledger:
    """Bytes held now, and the most that were held at a time."""

    def __init__(self) -> None:
        self.held = 0
        self.peak = 0
        run_in_each_process(self, Ledger._make_lock)

    def _make_lock(self) -> None:
        self._lock = threading.Lock()

    def take(self, amount: int) -> None:
        """Notes `amount` more bytes."""
        with self._lock:
            self.held += amount
            self.peak = max(self.peak, self.held)

    def give(self, amount: int) -> None:
        """Notes `amount` fewer bytes."""
        with self._lock:
            self.held -= amount

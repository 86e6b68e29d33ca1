"""`Slot`: a window, or the cached fields, while their rows are read and used."""

from collections import deque
from collections.abc import Iterable

from headrace.loading.fill import Failure
from headrace.loading.window import LoadedWindow
from headrace.sources import Read, StagedRead


class Slot:
    """The state of a window: opened, read, gathered from, dropped."""

    def __init__(self) -> None:
        self.loaded: LoadedWindow | None = None
        self.reads: deque[Read] = deque()
        self.unfetched: deque[StagedRead] = deque()
        self.running = 0
        self.opened = False
        self.pieces_left = 0
        self.passed = False
        self.failure: Failure | None = None

    @property
    def reading(self) -> bool:
        """Whether a read is left to run, or runs."""
        return bool(self.reads or self.unfetched or self.running)

    @property
    def ready(self) -> bool:
        if self.failure is not None:
            return True
        return self.opened and not self.reading

    def open(self, reads: Iterable[Read], fetching: bool) -> None:
        """Takes the reads of the window.

        Args:
            reads: Those that run in threads that decode, once they are fetched.
            fetching: Whether other threads fetch those that can be fetched by themselves.
        """
        for read in reads:
            if fetching and isinstance(read, StagedRead):
                self.unfetched.append(read)
            else:
                self.reads.append(read)
        self.opened = True

    def give_up(self, failure: Failure) -> int:
        """Forgets the reads that have not begun; returns how many of them were fetched."""
        if self.failure is not None:
            return 0
        self.failure = failure
        fetched = sum(isinstance(read, StagedRead) for read in self.reads)
        self.reads.clear()
        self.unfetched.clear()
        return fetched

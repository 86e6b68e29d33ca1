"""Rows that could not be read, and what becomes of their samples."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.errors import BadSampleError, OptionError, some_of
from headrace.sources import BadRow, ReadStats
from headrace.spec import Indices

LISTED = 20
"""Rows that a report and an error list."""

RAISE, SKIP = "raise", "skip"


def check_rows(stats: ReadStats) -> None:
    """Makes sure that every row could be read.

    Raises:
        BadSampleError: If one could not; says why.
    """
    if stats.bad:
        raise BadSampleError(stats.bad[0].reason)


class BadRows:
    """The rows of a data set that could not be read so far, by their positions.

    Positions are only added, one assignment at a time, so that threads may share it without a lock:
    a row that two threads find has the same reason.

    Args:
        rows: Rows of the data set.
        on_error: "raise" makes the batch of such a row fail; "skip" replaces its sample.
        most: The share of the rows that may be replaced.

    Raises:
        OptionError: If `on_error` or `most` is something else.
    """

    def __init__(self, rows: int, on_error: str = RAISE, most: float = 0.01) -> None:
        if on_error not in (RAISE, SKIP):
            raise OptionError(f"Expected on_error to be 'raise' or 'skip'. Received: {on_error!r}")
        if isinstance(most, bool) or not isinstance(most, (int, float)) or not 0 <= most <= 1:
            raise OptionError(
                f"Expected max_bad to be a share of the rows from 0 to 1. Received: {most!r}"
            )
        self.on_error = on_error
        self._rows = rows
        self._most = most
        self._reasons: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._reasons)

    def __contains__(self, position: int) -> bool:
        return position in self._reasons

    def note(self, bad: Sequence[BadRow]) -> None:
        """Adds rows that a read could not read."""
        for row, reason in bad:
            self._reasons.setdefault(row, reason)

    def among(self, positions: Indices) -> list[int]:
        """The places of `positions` at which such a row stands."""
        if not self._reasons:
            return []
        found: list[int] = np.flatnonzero(np.isin(positions, list(self._reasons))).tolist()
        return found

    def check(self, position: int) -> None:
        """Makes sure that the sample of a row that could not be read may be replaced.

        Raises:
            BadSampleError: If it may not; says why it could not be read, or how many there are.
        """
        if self.on_error == RAISE:
            raise BadSampleError(self._reasons[position])
        if len(self) > self._most * self._rows:
            reasons = [reason for _, reason in self.first()]
            raise BadSampleError(
                f"{len(self):,} of {self._rows:,} rows cannot be read so far, more than "
                f"max_bad={self._most:g} allows to replace. The first of them: {some_of(reasons)}"
            )

    def first(self) -> list[tuple[int, str]]:
        """The first rows in row order, at most 20, and why each could not be read."""
        return sorted(self._reasons.items())[:LISTED]

    def report(self) -> dict[str, Any]:
        """For `Loader.report`: how many rows were found, and the first of them."""
        listed = [{"row": row, "reason": reason} for row, reason in self.first()]
        return {"count": len(self), "rows": listed}

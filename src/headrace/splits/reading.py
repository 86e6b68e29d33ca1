"""Reads small fields of all rows in row order, a few megabytes at a time."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import MemoryBudgetError
from headrace.loading.budget import least_memory
from headrace.loading.loader import Loader
from headrace.loading.view import View
from headrace.order import STEP
from headrace.resources import check_memory

MEMORY = 32_000_000
"""The budget in bytes; a field that fits it is kept for the next pass."""

RUN_BYTES = 1 << 20
"""The approximate bytes of a run."""


class FieldReader:
    """Fields of the rows of a view, run by run; can be iterated several times.

    Args:
        view: The rows.
        names: Fields, which the view need not read.

    Raises:
        FieldNotFoundError: If there is no such field.
    """

    def __init__(self, view: View, names: Sequence[str]) -> None:
        self._views = [one for one in view.columns(names) if len(one)]
        self._kept: Loader | None = None

    def __iter__(self) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
        """Runs of rows: arrays of shape `(k, *field.shape)`.

        Raises:
            ReadError: If rows cannot be read.
            MemoryBudgetError: If a block of a field does not fit the memory of this process.
        """
        for view in self._views:
            loader = self._kept or _loader(view)
            if len(self._views) == 1:
                self._kept = loader
            with contextlib.closing(loader.stream(in_row_order=True)) as batches:
                yield from batches


def _loader(view: View) -> Loader:
    rows = int(np.clip(RUN_BYTES // view.row_bytes, 1, STEP))
    try:
        return Loader(view, dict, rows, memory=MEMORY)
    except MemoryBudgetError:
        # A chunk has to fit, even if it is larger than the budget.
        least = least_memory(view, rows, shuffle=False)
        names = ", ".join(map(repr, view.names))
        check_memory(
            least,
            f"Reading {names}, whose chunks are large,",
            "Pack the field in smaller chunks first.",
        )
        return Loader(view, dict, rows, memory=least)

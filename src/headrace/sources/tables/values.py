"""`Values`: the values of a column in some rows, whatever format they were read from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.spec import Indices

KINDS = ("int", "float", "bool", "text", "date")
"""What the values of a column may be."""


@dataclass(frozen=True)
class Values:
    """The values of a column in some rows.

    Attributes:
        data: Numbers or booleans; dates as `datetime64[us]`; for text, places in `texts`, int32.
            Shape `(rows,)`; anything where a value is missing.
        missing: Where values are missing, shape `(rows,)`; None if none is.
        texts: The distinct texts of a column of text, in any order.
    """

    data: npt.NDArray[Any]
    missing: npt.NDArray[np.bool_] | None = None
    texts: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.data)

    def take(self, rows: Indices) -> "Values":
        """The values in some of the rows."""
        missing = None if self.missing is None else self.missing[rows]
        return Values(self.data[rows], missing, self.texts)

"""`from_table`: samples in the rows of a data frame or another table in memory."""

from typing import Any, ClassVar

from headrace.dataset import Dataset
from headrace.formats.opening import dataset_in
from headrace.formats.tables import TableLocation
from headrace.spec import Structure


class _FrameLocation(TableLocation):
    """A table in memory."""

    format_name: ClassVar[str] = "tables"

    def __init__(self, frame: Any, fill: float | None) -> None:
        super().__init__(f"the {type(frame).__name__}", fill)
        self._frame = frame

    def _open(self) -> Any:
        from headrace.sources.tables.frame import FrameTable

        return FrameTable(self._frame)


def from_table(
    table: Any,
    x: Structure = None,
    y: Structure = None,
    sample_weight: Structure = None,
    *,
    fill: float | None = None,
    start: int = 0,
    end: int | None = None,
) -> Dataset:
    """Samples in the rows of a table in memory.

    Args:
        table: A pandas or polars data frame, an Arrow table, a result of DuckDB, or any object with
            `__arrow_c_stream__`. It must not change while the data set is used.
        x: The model's input. A list of columns of numbers is one float32 matrix
            `(rows, columns)`; the name of one column is that column. A tuple or a dict of these is
            several inputs. None takes all columns that `y` and `sample_weight` leave.
        y: The target, likewise; None for data without one.
        sample_weight: A column with a weight for each sample.
        fill: The number in place of each missing one. None makes a row that lacks a number an
            error.
        start: First row used.
        end: Row before which to stop; None for the end.

    Returns:
        A `Dataset`.

    Raises:
        FieldNotFoundError: If there is no such column.
        TypeNotSupportedError: If nothing can be made of the type of a column.
        OptionError: If `table` is no table, or an argument cannot be honoured.

    Example:

    ```python
    import pandas as pd

    frame = pd.DataFrame({"speed": [1.5, None, 3.0], "wind": [1, 2, 3], "clear": [0, 1, 1]})
    data = hr.from_table(frame, y="clear", fill=0)
    ```
    """
    return dataset_in([_FrameLocation(table, fill)], (x, y, sample_weight), start, end)

"""`from_parquet`: samples in the rows of Parquet files."""

from headrace.dataset import Dataset
from headrace.formats.opening import dataset_of
from headrace.formats.parquet import Parquet
from headrace.sources.paths import Paths
from headrace.spec import Structure


def from_parquet(
    path: Paths,
    x: Structure = None,
    y: Structure = None,
    sample_weight: Structure = None,
    *,
    fill: float | None = None,
    start: int = 0,
    end: int | None = None,
) -> Dataset:
    """Samples in the rows of Parquet files; only the columns that are named are read.

    Args:
        path: The file; a list of files, whose rows follow each other; a pattern; or a folder, of
            which all files `*.parquet` are read in the order of their names.
        x: The model's input. A list of columns of numbers is one float32 matrix
            `(rows, columns)`; the name of one column is that column, and "a.b" is member b of the
            structs in a. A tuple or a dict of these is several inputs. None takes all columns that
            `y` and `sample_weight` leave.
        y: The target, likewise; None for data without one.
        sample_weight: A column with a weight for each sample.
        fill: The number in place of each missing one. None makes a row that lacks a number an
            error.
        start: First row used, counted over all files.
        end: Row before which to stop; None for the end.

    Returns:
        A `Dataset`. Numbers keep their type; decimals become float64, text becomes NumPy text,
        dates become `datetime64`, and lists of one length become vectors.

    Raises:
        MissingFileError: If there is no such file.
        FileFormatError: If the footer of a file is damaged.
        FieldNotFoundError: If there is no such column.
        TypeNotSupportedError: If nothing can be made of the type of a column.
        DataError: If files have other columns than the first one.
        OptionError: If an argument cannot be honoured.

    Example:

    ```python
    data = hr.from_parquet("logs/*.parquet", y="clear", fill=0)
    ```
    """
    return dataset_of(path, (x, y, sample_weight), start, end, {"fill": fill}, Parquet())

"""`from_csv`: samples in the rows of CSV files."""

from collections.abc import Mapping, Sequence

from headrace.dataset import Dataset
from headrace.formats.csv import CSV
from headrace.formats.opening import dataset_of
from headrace.sources.paths import Paths
from headrace.spec import Structure


def from_csv(
    path: Paths,
    x: Structure = None,
    y: Structure = None,
    sample_weight: Structure = None,
    *,
    fill: float | None = None,
    types: Mapping[str, str] | None = None,
    names: Sequence[str] | None = None,
    delimiter: str | None = None,
    quote: str | None = '"',
    comment: str | None = None,
    decimal: str = ".",
    thousands: str | None = None,
    encoding: str = "utf-8",
    na: Sequence[str] | None = None,
    skip: int = 0,
    start: int = 0,
    end: int | None = None,
) -> Dataset:
    """Samples in the rows of CSV files, read range by range on all cores.

    The files are read once when the data set is made, at the speed of the disk, to count their rows
    and to cut them into ranges. A row is parsed when it is needed, and never dropped: one that
    cannot be read is an error that names its file, line and column, or is replaced and counted
    (`batch(on_error="skip")`).

    Args:
        path: The file; a list of files, whose rows follow each other; or a pattern such as
            `"logs/*.csv"`. Files may have the columns in another order than the first one.
        x: The model's input. A list of columns of numbers is one float32 matrix
            `(rows, columns)`; the name of one column is that column. A tuple or a dict of these is
            several inputs. None takes all columns that `y` and `sample_weight` leave.
        y: The target, likewise; None for data without one.
        sample_weight: A column with a weight for each sample.
        fill: The number in place of each missing one. None makes a row that lacks a number an
            error.
        types: What some columns hold, where a sample of the rows would not tell: names of columns,
            each with `"int"`, `"float"`, `"bool"`, `"text"` or `"date"`.
        names: The columns, for files without a header; all lines are rows then.
        delimiter: The character between two values. None finds it out: comma, tab, semicolon or
            bar.
        quote: The character around values that hold delimiters or line ends; None where quotes
            are ordinary characters.
        comment: A character at the start of lines that are left out; None for none.
        decimal: The decimal point.
        thousands: The separator of thousands.
        encoding: The encoding of the files.
        na: What counts as a missing value; None takes pandas' list: nothing, "NA", "nan", "null"
            and the like.
        skip: Rows in front of the header.
        start: First row used, counted over all files.
        end: Row before which to stop; None for the end.

    Returns:
        A `Dataset`. Columns of whole numbers are int64, of other numbers float64, of text NumPy
        text, of dates `datetime64[us]`.

    Raises:
        MissingFileError: If there is no such file.
        FileFormatError: If a file is empty, or a quoted value in it does not end.
        FieldNotFoundError: If there is no such column.
        DataError: If files have other columns than the first one.
        OptionError: If an argument cannot be honoured.

    Example:

    ```python
    data = hr.from_csv("logs/*.csv", y="clear", fill=0)
    ```
    """
    options = {
        "fill": fill,
        "types": types,
        "names": names,
        "delimiter": delimiter,
        "quote": quote,
        "comment": comment,
        "decimal": decimal,
        "thousands": thousands,
        "encoding": encoding,
        "na": na,
        "skip": skip,
    }
    return dataset_of(path, (x, y, sample_weight), start, end, options, CSV())

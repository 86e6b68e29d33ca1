"""Data sets one after the other."""

from dataclasses import replace

from headrace.dataset import Dataset
from headrace.errors import OptionError


def concat(*data: Dataset) -> Dataset:
    """One data set after the other.

    Args:
        *data: Data sets of equal fields, structure and map functions.

    Raises:
        OptionError: If they differ; says in what.

    Example:

    ```python
    data = hr.concat(hr.from_hdf5("2023.h5", x="image"), hr.from_hdf5("2024.h5", x="image"))
    ```
    """
    if not data:
        raise OptionError("Expected at least one data set to concatenate.")
    for other in data:
        if not isinstance(other, Dataset):
            raise OptionError(f"Expected data sets to concatenate. Received: {other!r}")
        other._check_each_once("concat()")
    first = data[0]
    for other in data[1:]:
        if other._structure != first._structure:
            raise OptionError(
                f"Expected data sets of equal fields. Received: {first!r} and {other!r}"
            )
        if other._maps != first._maps:
            raise OptionError(
                "The data sets have different map functions. Concatenate them first, then map()."
            )
    parts = tuple(part for d in data for part in d._view.parts if len(part.selection))
    mixed = all(d._view.mixed for d in data)
    view = replace(first._view, parts=parts or first._view.parts, mixed=mixed)
    return Dataset(view, first._structure, first._maps)

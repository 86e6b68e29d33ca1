"""`concat`: joins data sets."""

from dataclasses import replace

from headrace.dataset import Dataset
from headrace.errors import OptionError


def concat(*data: Dataset) -> Dataset:
    """A data set of the samples of several data sets, one after the other.

    Args:
        *data: Data sets of equal fields, structure and map functions.

    Raises:
        OptionError: If they differ; says how.

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
        other.check_each_once("concat()")
    first = data[0]
    for other in data[1:]:
        if other.pipeline.structure != first.pipeline.structure:
            raise OptionError(
                f"Expected data sets of equal fields. Received: {first!r} and {other!r}"
            )
        if other.pipeline.maps != first.pipeline.maps:
            raise OptionError(
                "The data sets have different map functions. Concatenate them first, then map()."
            )
    views = [one.pipeline.view for one in data]
    parts = tuple(part for view in views for part in view.parts if len(part.selection))
    mixed = all(view.mixed for view in views)
    view = replace(views[0], parts=parts or views[0].parts, mixed=mixed)
    return Dataset(replace(first.pipeline, view=view))

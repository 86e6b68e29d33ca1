"""The datasets of an HDF5 file that a model can take, and Python calls that read them."""

from headrace.formats import roles
from headrace.formats.roles import Roles, assign, python_call
from headrace.sources.hdf5.survey import Found
from headrace.spec import Field

READER = "hr.from_hdf5"
"""The call that reads HDF5 files, in the code that advice prints."""


def guess(datasets: list[Found]) -> Roles | None:
    """Guesses which datasets are x, y and sample_weight; None if that is not clear.

    Args:
        datasets: All that are there.
    """
    lengths = {item.name: item.source.length for item in datasets if item.source}
    return roles.guess(fields_of(datasets), lengths)


def fields_of(datasets: list[Found]) -> dict[str, Field]:
    """The fields of numbers among some datasets."""
    return {item.name: field for item in datasets if (field := numbers(item))}


def read_together(path: str, names: list[str], fields: dict[str, Field], end: int) -> str:
    """The call of `from_hdf5` that reads the first rows of fields of unequal length, as Python."""
    known = {name: fields[name] for name in names if name in fields}
    roles = assign(known) if len(known) == len(names) > 1 else None
    if roles is not None and set(roles.names) == set(names):
        return roles.call(READER, path, end=end)
    return python_call(READER, repr(path), x=names, end=end)


def numbers(item: Found) -> Field | None:
    """The field of a dataset; None unless it holds numbers that a model can take."""
    if item.error or not item.source or not item.storage or not item.storage.mostly_written:
        return None
    field = item.source.fields[0]
    return field if field.dtype.kind in "biuf" else None

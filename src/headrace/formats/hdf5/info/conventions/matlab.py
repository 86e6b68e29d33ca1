"""MAT-files of MATLAB 7.3: HDF5 in which the order of axes is reversed."""

import math
from collections.abc import Iterator

from headrace.formats.advice import Advice
from headrace.formats.hdf5.info.conventions.finding import Finding, names_of, shape_of
from headrace.formats.roles import is_label
from headrace.sources.hdf5.survey import Found, Survey

_CLASSES = frozenset({"double", "single", "logical"})

_LAST_AXIS = """\
import h5py
import headrace as hr

class LastAxis:
    def __init__(self, array):
        self.array, self.shape = array, array.shape[::-1]
        self.chunks = array.chunks and array.chunks[::-1]

    def __getitem__(self, rows):
        return self.array[..., rows].T

h5 = h5py.File({path})
data = hr.from_arrays(LastAxis(h5[{x}]){y})"""

_FIRST_AXIS = """\
import h5py
import headrace as hr

h5 = h5py.File({path})
data = hr.from_arrays(h5[{x}]{y})"""


def matlab(path: str, survey: Survey) -> Iterator[Finding]:
    """Files that MATLAB wrote."""
    items = [item for item in survey.datasets() if "MATLAB_class" in item.marks]
    if not items:
        return
    arrays = [item for item in items if _is_array(item)]
    x = max((i for i in arrays if not _is_vector(i)), key=_size, default=None)
    if x is None:
        text = (
            "MATLAB wrote this file, and no array of numbers with several rows and columns was "
            "found in it: save the samples as one, instead of in cells or structures."
        )
        yield Finding(Advice("matlab-axes", ("/",), text), names_of(survey.datasets()))
        return
    y, last = _target(x, arrays)
    here = shape_of(x)
    rows = here[-1] if last else here[0]
    text = (
        f"MATLAB wrote this file, and stores axes in reverse: {x.name} is {list(here[::-1])} in "
        f"MATLAB and {here} here. Its samples are likely the {'last' if last else 'first'} axis "
        f"here, {rows:,} of them"
    )
    text += f", as in {y.name}." if y else "; nothing beside it tells."
    if y is not None:
        text += " Classes that count from 1 need - 1 for Keras."
    target = "" if y is None else f", {_values(y)}"
    form = _LAST_AXIS if last else _FIRST_AXIS
    code = form.format(path=ascii(path), x=ascii(x.name), y=target)
    names = (x.name,) if y is None else (x.name, y.name)
    advice = Advice("matlab-axes", names, text, "python", code)
    yield Finding(advice, names_of(survey.datasets()))


def _is_array(item: Found) -> bool:
    """Whether it holds numbers of the user's."""
    kind = str(item.marks["MATLAB_class"])
    numbers = kind in _CLASSES or kind.lstrip("u").startswith("int")
    inner = item.name.startswith("#") or item.marks.get("MATLAB_empty")
    return numbers and not inner and not item.error and len(shape_of(item)) > 1


def _is_vector(item: Found) -> bool:
    return max(shape_of(item)) == _size(item)


def _size(item: Found) -> int:
    return math.prod(shape_of(item))


def _target(x: Found, arrays: list[Found]) -> tuple[Found | None, bool]:
    """What is likely y, and whether samples are the last axis of x as it is stored."""
    others = [item for item in arrays if item is not x]
    named = [item for item in others if is_label(item.name)]
    for last in (True, False):
        rows = shape_of(x)[-1 if last else 0]
        fits = [item for item in others if _rows(item, last) == rows]
        likely = [item for item in fits if item in named] or fits
        if len(likely) == 1:
            return likely[0], last
    return None, True


def _rows(item: Found, last: bool) -> int:
    return _size(item) if _is_vector(item) else shape_of(item)[-1 if last else 0]


def _values(y: Found) -> str:
    """The target as code that loads it, samples first."""
    array = f"h5[{y.name!a}][...]"
    if _is_vector(y):
        return f"{array}.reshape(-1)"
    return f"{array}.T"

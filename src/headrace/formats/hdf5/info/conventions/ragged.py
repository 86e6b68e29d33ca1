"""Samples of unequal length in one dataset: files such as JPEG, and series of numbers."""

from collections.abc import Iterator
from typing import Any

from headrace.errors import HeadraceError
from headrace.formats.advice import Advice
from headrace.formats.hdf5.info.conventions.finding import Finding, is_text, names_of, shape_of
from headrace.formats.hdf5.info.conventions.images import IMPORTS, image_kind, other_kind
from headrace.formats.hdf5.info.fields import numbers
from headrace.formats.roles import is_label
from headrace.sources.hdf5.marks import first_values
from headrace.sources.hdf5.survey import Found, Survey

_LOOKED_AT = 20

_SERIES = """\
import h5py
import numpy as np
import headrace as hr

def decode(values):
    made = np.zeros({length}, values.dtype)
    made[: len(values)] = values[:{length}]
    return made
"""

_CODE = """\
import threading
{decode}
class Samples:
    def __init__(self, h5):
        self.values = h5[{x}]{labels}
        self.lock = threading.Lock()

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        with self.lock:  # h5py reads such values in one thread at a time
            values = self.values[index]
        return decode(values){y}

samples = Samples(h5py.File({path}))
loader = hr.from_sequence(samples, batch_size=32, shuffle=True)"""


def ragged(path: str, survey: Survey) -> Iterator[Finding]:
    """Datasets whose values are arrays of any length."""
    for item in survey.datasets():
        if item.storage is None or item.storage.dtype != "ragged" or len(shape_of(item)) != 1:
            continue
        try:
            values = first_values(path, item.name, _LOOKED_AT)
        except HeadraceError:
            continue
        if values and all(getattr(one, "ndim", 0) == 1 for one in values):
            yield _finding(path, survey, item, values)


def _finding(path: str, survey: Survey, item: Found, values: list[Any]) -> Finding:
    image, other = image_kind(values[0]), other_kind(values[0])
    if "PSEUDOATOM" in item.marks:
        other = "pickle"
    way = "from_sequence takes them one by one, from an object that"
    code = decode = ""
    if other:
        text = f"Its values are {other} files, which from_hdf5 does not read. {way} decodes them."
    elif image:
        text = f"Its values are {image} files, which from_hdf5 does not decode. {way} does:"
        decode = IMPORTS
    else:
        length = max(1, *map(len, values))
        text = (
            f"Its values are arrays of unequal length. {way} makes them equally long; here "
            f"{length:,}, as the longest of the first {len(values)}:"
        )
        decode = _SERIES.format(length=length)
    if decode:
        more = _labels(survey, item)
        code = _CODE.format(path=ascii(path), x=ascii(item.name), decode=decode, **more)
        # Modules of Python's own come first.
        code = code.replace("import threading\nimport io\n", "import io\nimport threading\n")
    language = "python" if code else ""
    return Finding(Advice("ragged-samples", (item.name,), text, language, code), names_of([item]))


def _labels(survey: Survey, item: Found) -> dict[str, str]:
    """Code that loads the labels of the samples, and code that gives one."""
    labels = [
        other
        for other in survey.datasets()
        if (numbers(other) or is_text(other)) and shape_of(other) == shape_of(item)
        if is_label(other.name)
    ]
    if not labels:
        return {"labels": "", "y": ""}
    load = f"h5[{labels[0].name!a}][:]"
    if is_text(labels[0]):
        load = f"np.unique({load}, return_inverse=True)[1]"
    return {"labels": f"\n        self.labels = {load}", "y": ", self.labels[index]"}

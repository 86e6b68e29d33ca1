"""NWB: recordings of brains, in which rows are moments of one recording."""

from collections.abc import Iterator

from headrace.formats.advice import Advice
from headrace.formats.hdf5.info.conventions.finding import Finding, names_of, shape_of
from headrace.sources.hdf5.survey import Survey

_CODE = """\
import h5py
import headrace as hr

class Windows:
    rows = {rows}    # of a window

    def __init__(self, recording):
        self.recording = recording

    def __len__(self):
        return len(self.recording) // self.rows

    def __getitem__(self, index):
        return self.recording[index * self.rows : (index + 1) * self.rows]

recording = h5py.File({path})[{x}]
loader = hr.from_sequence(Windows(recording), batch_size=32)"""


def nwb(path: str, survey: Survey) -> Iterator[Finding]:
    """Files of Neurodata Without Borders."""
    if "nwb_version" not in survey.root.marks:
        return
    text = (
        "This is an NWB file: rows of its time series are moments of one recording, and its "
        "timestamps are no labels."
    )
    series = [item for item in survey.datasets() if item.leaf == "data" and shape_of(item)]
    x = max(series, key=lambda i: (i.storage and i.storage.decoded_bytes) or 0, default=None)
    if x is None or x.error:
        yield Finding(Advice("nwb", ("/",), text), names_of(survey.datasets()))
        return
    text += " This cuts one into windows, each of which is a sample:"
    rows = min(100, shape_of(x)[0])
    code = _CODE.format(rows=rows, path=ascii(path), x=ascii(x.name))
    advice = Advice("nwb", (x.name,), text, "python", code)
    yield Finding(advice, names_of(survey.datasets()))

"""Values that no layer takes as they are: text as labels, and complex numbers."""

from collections.abc import Iterator

from headrace.formats.advice import Advice
from headrace.formats.hdf5.info.conventions.finding import Finding, from_hdf5, is_text, shape_of
from headrace.formats.hdf5.info.fields import guess, numbers
from headrace.formats.roles import Roles, is_label, is_note
from headrace.sources.hdf5.survey import Found, Survey

_CODES = """\
import h5py
import numpy as np
import headrace as hr

h5 = h5py.File({path})
classes, codes = np.unique(h5[{y}][:], return_inverse=True)
data = hr.from_arrays(h5[{x}], codes)"""


def text_labels(path: str, survey: Survey) -> Iterator[Finding]:
    """Labels that are text, beside samples of numbers."""
    texts = [item for item in survey.datasets() if is_text(item) and len(shape_of(item)) == 1]
    roles = guess(survey.datasets())
    for y in [*filter(lambda item: is_label(item.name), texts), *texts]:
        beside = [
            item
            for item in survey.datasets()
            if item.folder == y.folder and numbers(item) and shape_of(item)[0] == shape_of(y)[0]
        ]
        known = roles or guess(beside) or _largest(beside)
        if known is None or known.x not in [item.name for item in beside] or is_note(y.name):
            continue
        if not is_label(y.name) and (known.y or len(texts) > 1):
            continue
        if known.y is not None and is_label(known.y):
            return
        text = "It holds text, and a model learns numbers: this gives each text the number of its "
        text += "class. classes[k] is the text of class k."
        code = _CODES.format(path=ascii(path), x=ascii(known.x), y=ascii(y.name))
        yield Finding(Advice("text-labels", (y.name,), text, "python", code))
        return


def _largest(items: list[Found]) -> Roles | None:
    """The largest of some datasets with samples of several values as x."""
    shaped = [item for item in items if len(shape_of(item)) > 1]
    x = max(shaped, key=lambda i: (i.storage and i.storage.decoded_bytes) or 0, default=None)
    return Roles(x.name) if x else None


def complex_numbers(path: str, survey: Survey) -> Iterator[Finding]:
    """Complex numbers, as of signals and spectra."""
    items = [item for item in survey.datasets() if _is_complex(item)]
    if not items:
        return
    x = max(items, key=lambda i: (i.storage and i.storage.decoded_bytes) or 0)
    labels = [
        item.name
        for item in survey.datasets()
        if is_label(item.name) and numbers(item) and shape_of(item)[0] == shape_of(x)[0]
    ]
    y = labels[0] if len(labels) == 1 else None
    parts = "x, y" if y else "x"
    made = "np.stack([x.real, x.imag], axis=-1)"
    code = (
        "import numpy as np\nimport headrace as hr\n\n"
        f"{from_hdf5(path, x=x.name, y=y)}\n"
        f"data = data.map(lambda {parts}: {f'({made}, y)' if y else made})"
    )
    text = "It holds complex numbers, which few layers take: this puts the real and the imaginary "
    text += "part side by side, on a last axis of 2."
    yield Finding(Advice("complex-numbers", (x.name,), text, "python", code))


def _is_complex(item: Found) -> bool:
    return bool(item.storage and item.storage.kind == "c" and shape_of(item) and not item.error)

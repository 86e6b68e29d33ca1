"""A command that joins datasets of one shape, each a sample, into one."""

from dataclasses import dataclass

from headrace.formats.hdf5.info.pack_command import free_name
from headrace.sources.hdf5.storage import Storage

_CHUNK_BYTES = 1 << 20

_SCRIPT = """\
python - <<'END'
import h5py
{numpy}with h5py.File({old}) as old, h5py.File({new}, "x") as new:
    data = old[{group}]
    names = [{names}]
    names.sort(key=lambda name: (len(name), name))
    made = new.create_dataset(
        "data",
        (len(names), *{shape}),
        {dtype},
        chunks={chunks},
        compression={filter},
    )
    for start in range(0, len(names), {rows}):
        some = names[start : start + {rows}]
        made[start : start + len(some)] = [data[name][()] for name in some]
{labels}    text = [name.encode() for name in names]
    new.create_dataset("name", data=text, dtype=f"S{{max(map(len, text))}}")
END"""

_NUMBERS = """\
    new["label"] = [{value} for name in names]
"""

_TEXTS = """\
    texts = [{value} for name in names]
    classes, new["label"] = np.unique(texts, return_inverse=True)
    new["label"].attrs["class_names"] = classes.tolist()
"""


@dataclass(frozen=True)
class Label:
    """Where the label of a sample is.

    Attributes:
        value: Code that gives it, where `data` holds the samples and `name` is one's name in it.
        is_text: Whether that is text, so that classes have to be numbered.
    """

    value: str
    is_text: bool


def join_command(
    path: str, group: str, names: str, label: Label | None, storage: Storage, number: int
) -> str:
    """The command, for a shell.

    Args:
        path: The file.
        group: The group of the samples.
        names: Code that lists the names of samples in `data`.
        label: Where their labels are; None if there are none.
        storage: How one of the samples is stored.
        number: How many there are, at least.
    """
    shape = storage.shape or ()
    rows = max(1, min(number, _CHUNK_BYTES // max(1, storage.decoded_bytes or 0)))
    form = _TEXTS if label and label.is_text else _NUMBERS
    return _SCRIPT.format(
        numpy="import numpy as np\n" if label and label.is_text else "",
        old=ascii(path),
        new=ascii(free_name(path, "joined")),
        group=ascii(f"/{group}"),
        names=names,
        shape=shape,
        dtype=ascii(storage.dtype),
        chunks=(rows, *shape),
        filter="'gzip'" if storage.filters else None,
        rows=rows,
        labels=form.format(value=label.value) if label else "",
    )

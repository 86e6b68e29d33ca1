"""Samples that are datasets of their own, hundreds of them, where one dataset would do."""

from collections.abc import Iterator

from penstock.cli.info.advice import Advice
from penstock.cli.info.rewrite import free_name
from penstock.sources.hdf5.storage import Storage
from penstock.sources.hdf5.survey import Found, Survey

MANY_DATASETS = 100
"""Datasets of one shape in a group: nobody has so many fields."""

_CHUNK_BYTES = 1 << 20

_SCRIPT = """\
python - <<'END'
import h5py
with h5py.File({old}) as old, h5py.File({new}, "x") as new:
    group = old[{group}]
    names = sorted(group, key=lambda name: (len(name), name))
    shape = (len(names), *{shape})
    made = new.create_dataset("data", shape, {dtype}, chunks={chunks}, compression={filter})
    for start in range(0, len(names), {rows}):
        some = names[start : start + {rows}]
        made[start : start + len(some)] = [group[name][()] for name in some]
    text = [name.encode() for name in names]
    new.create_dataset("name", data=text, dtype=f"S{{max(map(len, text))}}")
END"""


def advise(path: str, survey: Survey) -> Iterator[Advice]:
    """Groups that hold samples one by one."""
    for group in [survey.root, *survey.everything()]:
        storage = _common(group) if group.inside >= MANY_DATASETS else None
        if storage is None:
            continue
        shape = storage.shape or ()
        rows = max(1, min(group.inside, _CHUNK_BYTES // max(1, storage.decoded_bytes or 0)))
        command = _SCRIPT.format(
            old=ascii(path),
            new=ascii(free_name(path, "joined")),
            group=ascii(f"/{group.name}"),
            shape=shape,
            dtype=ascii(storage.dtype),
            chunks=(rows, *shape),
            filter="'gzip'" if storage.filters else None,
            rows=rows,
        )
        text = (
            f"It holds {group.inside:,} objects, and those that were looked at are datasets of one "
            f"shape, {shape}: samples, it seems. A sample is a row of a dataset here, and "
            "each dataset costs far more to open than a row to read. Join them in one, named data, "
            "with their names beside it."
        )
        if len(shape) == 1:
            text += " Columns of a table are fine as they are."
        yield Advice("samples-apart", (group.name or "/",), text, "shell", command)


def _common(group: Found) -> Storage | None:
    """How a group's datasets are stored, if all hold numbers and have the same shape."""
    storages = [item.storage for item in group.children]
    forms = {storage and (storage.shape, storage.dtype) for storage in storages}
    first = storages[0] if storages else None
    if len(forms) > 1 or first is None or not first.decoded_bytes or not first.is_number:
        return None
    return first

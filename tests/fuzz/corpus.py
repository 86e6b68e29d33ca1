"""Small files of all kinds, and what of them is metadata."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from h5py import h5d

from tests.files import images
from tests.fuzz import checksum
from tests.sources import zoo_filters
from tests.sources.zoo import ZOO

LARGEST = 200_000
HAS_TIMES = 0x20
assert zoo_filters.params  # it adds to the zoo


@dataclass(frozen=True)
class Seed:
    """A file to damage.

    Attributes:
        name: What it is.
        folder: Where it is, as "data.h5", with other files that it reads.
        content: Its bytes.
        pieces: Where it has checksums, as `checksum.find` gives them.
        metadata: Offsets that are worth changing.
        data: Offsets of stored samples.
        checked: Whether those samples have a checksum.
        values: Samples of datasets, by name.
    """

    name: str
    folder: Path
    content: bytes
    pieces: list[tuple[int, int]]
    metadata: np.ndarray
    data: np.ndarray
    checked: bool
    values: dict[str, np.ndarray]


def make(folder):
    """Writes the files; the same ones each time."""
    seeds = []
    for number, (name, (write, options)) in enumerate({**ZOO_CASES, **MORE}.items()):
        here = folder / f"{number:03}"
        here.mkdir()
        with h5py.File(here / "data.h5", "w", **options) as file:
            write(file)
        if (here / "data.h5").stat().st_size <= LARGEST:
            seeds.append(_seed(name, here))
    return seeds


ZOO_CASES = {name: (case.write, case.options or {}) for name, case in ZOO.items() if not case.skip}


def _tree(file):
    """Groups, links of all kinds, attributes, and several datasets."""
    file["a/b/c"] = images(20)
    file["a/label"] = np.arange(20)
    file["hard"] = file["a/b"]
    file["a/up"] = file["a"]
    file["soft"] = h5py.SoftLink("/a/b/c")
    file["lost"] = h5py.SoftLink("/nowhere")
    file["outside"] = h5py.ExternalLink("other.h5", "/x")
    file.attrs["text"] = "words" * 30
    file["a/b/c"].attrs["numbers"] = np.arange(50)
    for number in range(30):
        file[f"many/d{number}"] = number
    file.create_dataset(
        "data", data=images(), chunks=(8, 4, 4, 3), compression="gzip", shuffle=True
    )


def _checked(**storage):
    def write(file):
        for name in ("data", "other"):
            file.create_dataset(name, data=images(dtype="u2"), fletcher32=True, **storage)

    return write


MORE = {}
for version in ("earliest", "latest"):
    options = {"libver": version}
    MORE[f"{version} tree"] = (_tree, options)
    MORE[f"{version} fletcher32"] = (_checked(chunks=(8, 4, 4, 3)), options)
    MORE[f"{version} gzip + fletcher32"] = (
        _checked(chunks=(8, 4, 4, 3), compression="gzip", maxshape=(None, 4, 4, 3)),
        options,
    )


def _seed(name, folder):
    path = folder / "data.h5"
    content, pieces = _without_times(path.read_bytes())
    path.unlink()
    path.write_bytes(content)
    stored = np.zeros(len(content), np.bool_)
    checked = []
    values = {}
    with h5py.File(path) as file:
        for found in _datasets(file):
            if found.shape and found.dtype.kind != "O":
                values[found.name.strip("/")] = found[()]
            for start, size in _spans(found):
                stored[start : start + size] = True
                checked.append(found.fletcher32)
    # Of what is empty, only what is near something else is likely to be looked at.
    used = np.frombuffer(content, np.uint8) != 0
    near = np.convolve(used, np.ones(17), "same") > 0
    return Seed(
        name,
        folder,
        content,
        pieces,
        np.flatnonzero(near & ~stored),
        np.flatnonzero(stored),
        all(checked),
        values,
    )


def _without_times(content):
    """The same file as if it had been written at one moment for all times; and its checksums."""
    pieces = checksum.find(content)
    changed = bytearray(content)
    for start, _ in pieces:
        if content[start : start + 4] == b"OHDR" and content[start + 5] & HAS_TIMES:
            changed[start + 6 : start + 22] = (1_700_000_000).to_bytes(4, "little") * 4
    checksum.repair(changed, pieces)
    return bytes(changed), pieces


def _datasets(file):
    found = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return found


def _spans(dataset):
    """Offset and size of each stretch of stored samples."""
    layout = dataset.id.get_create_plist().get_layout()
    if layout == h5d.CHUNKED:
        for number in range(dataset.id.get_num_chunks()):
            info = dataset.id.get_chunk_info(number)
            if info.byte_offset is not None:
                yield info.byte_offset, info.size
    elif layout == h5d.CONTIGUOUS and dataset.id.get_offset() is not None:
        yield dataset.id.get_offset(), dataset.size * dataset.dtype.itemsize

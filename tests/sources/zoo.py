"""One small dataset for each way of storing samples in HDF5, and how it ought to be read."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5d, h5f, h5t

from tests.files import (
    create,
    deflate,
    dont_filter_partial_chunks,
    images,
    libhdf5,
    nbit,
    scaleoffset,
    shuffle,
    store_chunk,
    undefine_fill_value,
)

ROWS, CHUNKS, H5PY = "direct rows", "direct chunks", "h5py"

IMAGES = images()
WHOLE = (8, 4, 4, 3)
CUT = (8, 3, 4, 2)
GAPPED = np.dtype({"names": ["a", "b"], "formats": ["i1", "f8"], "offsets": [0, 8], "itemsize": 16})
POINT = np.dtype([("x", "<f4"), ("y", "<f4", (2,)), ("n", "<i2")])


@dataclass(frozen=True)
class Case:
    """A file with a dataset "data".

    Attributes:
        write: Writes it into an open h5py.File.
        path: How it ought to be read.
        options: For `h5py.File`.
        skip: Why not here, or None.
    """

    write: Callable[[h5py.File], object]
    path: str
    options: dict | None = None
    skip: str | None = None


ZOO = {}


def case(path, name=None, **more):
    """Adds a function that writes a file to the zoo."""

    def add(write):
        ZOO[name or write.__name__] = Case(write, path, **more)
        return write

    return add


def simple(name, path, data, options=None, **storage):
    """Adds a dataset that `create_dataset` makes."""
    ZOO[name] = Case(lambda file: file.create_dataset("data", data=data, **storage), path, options)


def by_hand(name, path, data, skip=None, **storage):
    """Adds a dataset that HDF5's own functions make."""
    ZOO[name] = Case(lambda file: create(file, "data", data, **storage), path, skip=skip)


def typed(dtype, n=50, shape=(5,)):
    """Random bytes as values of a type: NaNs and infinities, all signs, every padding byte 0."""
    dtype = np.dtype(dtype)
    rng = np.random.default_rng(3)
    if dtype.kind == "b":
        return rng.integers(0, 2, (n, *shape)).astype(dtype)
    if dtype.kind == "S":
        return rng.integers(97, 123, (n, *shape, dtype.itemsize), np.uint8).view(dtype)[..., 0]
    if dtype.names:
        values = np.zeros((n, *shape), dtype)
        for part in dtype.names:
            values[part] = rng.integers(-100, 100, values[part].shape)
        return values
    raw = rng.integers(0, 256, (n, *shape, dtype.itemsize), np.uint8)
    return raw.view(dtype)[..., 0]


# All other types are in test_hdf5_types.
TYPES = {
    "int64": "<i8",
    "bool": "?",
    "complex64": "<c8",
    "compound": POINT,
    "gapped compound": GAPPED,
    "strings": "S7",
    "times": h5py.opaque_dtype(np.dtype("<M8[ms]")),
    "big-endian float64": ">f8",
}
for label, dtype in TYPES.items():
    values = typed(dtype)
    simple(f"contiguous {label}", ROWS, values)
    simple(f"gzip {label}", CHUNKS, values, chunks=(7, 5), compression="gzip", shuffle=True)
    simple(f"lzf {label}", CHUNKS, values, chunks=(7, 5), compression="lzf")
FOREIGN = typed(POINT).astype(POINT.newbyteorder(">"))
simple("big-endian compound", ROWS, FOREIGN)
simple("gzip big-endian compound", CHUNKS, FOREIGN, chunks=(7, 5), compression="gzip")
simple("lzf big-endian compound", CHUNKS, FOREIGN, chunks=(7, 5), compression="lzf")

# Contiguous, and chunks of whole samples without filters.
simple("images", ROWS, IMAGES)
simple("labels", ROWS, np.arange(50))
simple("one row", ROWS, IMAGES[:1])
simple("one value", ROWS, np.array([3.5]))
simple("31 axes in a sample", ROWS, images(6, (2,) * 3 + (1,) * 28))
simple("large rows", ROWS, images(3, (1300, 1000)))
simple("many rows", ROWS, images(5000, (300,)))
simple("raw chunks", ROWS, IMAGES, chunks=WHOLE)
simple("raw chunks of one row", ROWS, IMAGES, chunks=(1, 4, 4, 3))
simple("raw labels in chunks", ROWS, np.arange(50), chunks=(7,))
LARGER = {"chunks": (64, 4, 4, 3), "maxshape": (None, 4, 4, 3)}
simple("raw chunk larger than the data", ROWS, IMAGES, **LARGER)
simple("raw chunk of the data's shape", ROWS, IMAGES, chunks=IMAGES.shape)
simple("raw big-endian chunks", ROWS, images(dtype=">u2"), chunks=WHOLE)
simple("many raw chunks", ROWS, images(5000, (300,)), chunks=(64, 300))
simple("empty axis of one", ROWS, images(20, (1, 1)))

# Chunks that need assembling or decoding.
simple("raw chunks cut samples", CHUNKS, IMAGES, chunks=CUT)
simple("raw chunks wider than samples", CHUNKS, IMAGES, chunks=(8, 6, 4, 5), maxshape=(None,) * 4)
simple("gzip", CHUNKS, IMAGES, chunks=WHOLE, compression="gzip")
simple("gzip 0", CHUNKS, IMAGES, chunks=WHOLE, compression=0)
simple("gzip 9", CHUNKS, IMAGES, chunks=WHOLE, compression=9)
simple("gzip in chunks of one row", CHUNKS, IMAGES, chunks=(1, 4, 4, 3), compression="gzip")
simple("gzip cuts samples", CHUNKS, IMAGES, chunks=CUT, compression="gzip")
simple("gzip wider", CHUNKS, IMAGES, chunks=(8, 6, 4, 5), maxshape=(None,) * 4, compression="gzip")
simple("gzip labels", CHUNKS, np.arange(50), chunks=(7,), compression="gzip", shuffle=True)
simple("shuffled gzip", CHUNKS, images(dtype="f4"), chunks=WHOLE, compression="gzip", shuffle=True)
simple("shuffle alone", CHUNKS, images(dtype="f4"), chunks=WHOLE, shuffle=True)
simple("many gzip chunks", CHUNKS, images(5000, (300,)), chunks=(64, 300), compression="gzip")
simple("one gzip chunk", CHUNKS, IMAGES, chunks=IMAGES.shape, compression="gzip")
simple("gzip chunk larger than the data", CHUNKS, IMAGES, **LARGER, compression="gzip")
by_hand("gzip, then shuffle", CHUNKS, images(dtype="u2"), chunks=WHOLE, filters=(deflate, shuffle))
for name, path, chunks in (
    ("unfiltered last chunk", CHUNKS, WHOLE),
    ("unfiltered partial chunks", H5PY, CUT),
    ("one unfiltered partial chunk", H5PY, (64, 4, 4, 3)),
    ("unshuffled last chunk", CHUNKS, WHOLE),
):
    by_hand(
        name,
        path,
        images(dtype="u2"),
        chunks=chunks,
        filters=(shuffle,) if "unshuffled" in name else (deflate,),
        maxshape=(None, 4, 4, 3),
        options=dont_filter_partial_chunks,
        skip=None if libhdf5() else "libhdf5 was not found",
    )

# What libhdf5 decodes.
simple("scaleoffset of floats", H5PY, images(dtype="f4"), chunks=WHOLE, scaleoffset=2)
for name, filters in {
    "shuffle thrice": (shuffle, shuffle, shuffle),
    "scaleoffset": (scaleoffset,),
    "nbit": (nbit,),
}.items():
    by_hand(name, H5PY, images(dtype="i4"), chunks=WHOLE, filters=filters)
by_hand("compact", H5PY, IMAGES, options=lambda plist: plist.set_layout(h5d.COMPACT))


def _odd_float():
    """bfloat16: no NumPy type."""
    made = h5t.IEEE_F32LE.copy()
    made.set_fields(15, 7, 8, 0, 7)
    made.set_size(2)
    made.set_ebias(127)
    return made


def _padded_int():
    """12 bits of 16."""
    made = h5t.STD_I16LE.copy()
    made.set_precision(12)
    return made


by_hand("bfloat16", H5PY, typed("f4") * 0 + 1.5, dtype=_odd_float())
by_hand("padded integers", H5PY, images(dtype="i2") - 100, dtype=_padded_int())
by_hand("bit fields", H5PY, IMAGES, dtype=h5t.STD_B8LE)


@case(CHUNKS)
def unwritten_gzip_chunks(file):
    made = file.create_dataset(
        "data", (50, 5), "f4", chunks=(7, 5), compression="gzip", fillvalue=7
    )
    made[14:30] = 1.5


@case(CHUNKS)
def unwritten_raw_chunks(file):
    file.create_dataset("data", (50, 5), ">i4", chunks=(7, 2), fillvalue=-3)[20:, 1:] = 5


@case(CHUNKS)
def unwritten_compound_chunks(file):
    fill = np.array((1.5, (2, 3), 4), POINT)
    made = file.create_dataset(
        "data", (50,), POINT, chunks=(7,), compression="gzip", fillvalue=fill
    )
    made[21:28] = np.zeros(7, POINT)


@case(CHUNKS)
def no_chunk_written(file):
    file.create_dataset("data", (50, 5), "f4", chunks=(7, 5), fillvalue=np.nan)


@case(H5PY)
def contiguous_never_written(file):
    file.create_dataset("data", (50, 5), "i2", fillvalue=9)


@case(ROWS)
def early_allocated_chunks(file):
    def early(plist):
        plist.set_alloc_time(h5d.ALLOC_TIME_EARLY)

    create(file, "data", IMAGES, chunks=WHOLE, options=early)


@case(CHUNKS)
def skipped_filters(file):
    values = images(56, (6,), "u4")
    made = file.create_dataset(
        "data", values.shape, "u4", chunks=(7, 6), compression="gzip", shuffle=True
    )
    for number in range(8):
        store_chunk(made, number, values[number * 7 :][:7], number % 4)


@case(CHUNKS)
def edge_chunk_as_long_as_a_raw_one(file):
    """Compressed bytes that happen to be as many as the chunk has: filtered all the same."""
    made = file.create_dataset("data", (60, 64), "u1", chunks=(50, 64), compression="gzip")
    made[:50] = images(50, (64,))
    chunk = np.random.default_rng(0).integers(0, 240, (50, 64), np.uint8)
    for zeros in range(chunk.size):
        chunk.reshape(-1)[:zeros] = 0
        packed = zlib.compress(chunk.tobytes())
        if len(packed) == chunk.size:
            made.id.write_direct_chunk((50, 0), packed)
            return
    raise AssertionError("no such chunk was found")


@case(ROWS)
def resized(file):
    made = file.create_dataset("data", data=IMAGES, chunks=WHOLE, maxshape=(None, 4, 4, 3))
    made.resize(90, axis=0)
    made[50:] = images(40, seed=5)
    made.resize(70, axis=0)


@case(CHUNKS)
def resized_gzip(file):
    made = file.create_dataset(
        "data", data=IMAGES, chunks=CUT, maxshape=(None,) * 4, compression="gzip"
    )
    made.resize((70, 6, 5, 4))
    made[60:, 2:, 2:, 1:] = 9
    made.resize((65, 5, 5, 4))


def arrays(name, path, **storage):
    """Elements that are arrays of big-endian floats; some chunks stay unwritten."""

    def write(file):
        made = file.create_dataset("data", (20,), np.dtype((">f4", (3, 2))), **storage)
        made[3:14] = np.arange(66, dtype=">f4").reshape(11, 3, 2)

    ZOO[name] = Case(write, path)


arrays("elements that are arrays", ROWS)
arrays("gzip elements that are arrays", CHUNKS, chunks=(5,), compression="gzip")
arrays("lzf elements that are arrays", CHUNKS, chunks=(5,), compression="lzf")


def without_fill(name, path, undefined, **storage):
    """Where nothing was written, libhdf5 leaves memory as it was."""

    def options(plist):
        plist.set_fill_time(h5d.FILL_TIME_NEVER)
        if undefined:
            undefine_fill_value(plist)
        else:
            plist.set_fill_value(np.array([9], "f4"))

    def write(file):
        made = create(file, "data", np.zeros(0, "f4"), options=options, maxshape=(None,), **storage)
        made.resize((50,))
        made[10:13] = 1.5

    ZOO[name] = Case(write, path, skip=None if libhdf5() else "libhdf5 was not found")


for undefined in (False, True):
    label = "undefined" if undefined else "unused"
    without_fill(f"{label} fill value", CHUNKS, undefined, chunks=(7,))
    without_fill(f"gzip, {label} fill value", CHUNKS, undefined, chunks=(7,), filters=(deflate,))
    without_fill(f"nbit, {label} fill value", H5PY, undefined, chunks=(7,), filters=(nbit,))


@case(ROWS)
def virtual(file):
    """Four files, and a fill value for the rows that none of them has."""
    layout = h5py.VirtualLayout(IMAGES.shape, "u1")
    for start in range(0, 40, 10):
        name = f"source-{start}.h5"
        with h5py.File(Path(file.filename).parent / name, "w") as source:
            source["part"] = IMAGES[start : start + 10]
        layout[start : start + 10] = h5py.VirtualSource(name, "part", (10, 4, 4, 3))
    file.create_virtual_dataset("data", layout, fillvalue=3)


@case(ROWS)
def virtual_of_virtual_in_the_file(file):
    file["plain"] = IMAGES
    for name, inner in (("middle", "plain"), ("data", "middle")):
        layout = h5py.VirtualLayout((40, 4, 4, 3), "u1")
        layout[:] = h5py.VirtualSource(".", inner, file[inner].shape)[:40]
        file.create_virtual_dataset(name, layout)


for block in (512, 4096):
    old = h5py.version.hdf5_version_tuple < (2, 0)
    options = {"userblock_size": block}
    simple(f"user block of {block}", ROWS, IMAGES, options)
    simple(f"gzip behind {block}", H5PY if old else CHUNKS, IMAGES, options, compression="gzip")
    simple(f"raw chunks behind {block}", H5PY if old else ROWS, IMAGES, options, chunks=WHOLE)

VERSIONS = [
    name
    for name in ("earliest", "v108", "v110", "v112", "v114", "v200", "latest")
    if f"LIBVER_{name.upper()}" in vars(h5f)
]
INDEXES = {
    "contiguous": (ROWS, {}),
    "single chunk": (CHUNKS, {"chunks": IMAGES.shape, "compression": "gzip"}),
    "implicit": (ROWS, {"chunks": WHOLE}),
    "fixed array": (CHUNKS, {"chunks": CUT, "compression": "gzip"}),
    "extensible array": (
        CHUNKS,
        {"chunks": WHOLE, "compression": "gzip", "maxshape": (None, 4, 4, 3)},
    ),
    "b-tree": (CHUNKS, {"chunks": CUT, "compression": "gzip", "maxshape": (None,) * 4}),
}
for version in VERSIONS:
    for index, (path, storage) in INDEXES.items():
        simple(f"{version} {index}", path, IMAGES, {"libver": version}, **storage)


def params():
    """The zoo for `pytest.fixture`."""
    return [
        pytest.param(
            entry, id=name, marks=[pytest.mark.skip(reason=entry.skip)] if entry.skip else []
        )
        for name, entry in ZOO.items()
    ]

"""The rest of the zoo: datasets behind every filter that is read without libhdf5, and others."""

import hdf5plugin
import numpy as np

from tests.files import COMPRESSORS, FILTERS, can_szip, fletcher32, images, shuffle
from tests.sources.zoo import (
    CHUNKS,
    CUT,
    GAPPED,
    H5PY,
    IMAGES,
    WHOLE,
    by_hand,
    case,
    params,
    simple,
    typed,
)

__all__ = ["params"]


def filtered(name, data, chunks, *filters, path=CHUNKS, **more):
    """Adds a dataset behind filters, which are functions or names."""
    skip = (
        None
        if can_szip() or not any("szip" in str(f) for f in filters)
        else "libhdf5 was built without szip"
    )
    steps = [FILTERS[step] if isinstance(step, str) else step for step in filters]
    by_hand(name, path, data, chunks=chunks, filters=steps, skip=skip, **more)


FLOATS = images(dtype="f4")
NOISE = typed("u1", 50, (999,))
BEYOND = {"maxshape": (None,) * 4}

for one in FILTERS:
    filtered(f"{one} alone", IMAGES, WHOLE, one)
    # Edge chunks that are as long as raw ones may be raw, and only libhdf5 knows.
    unknown = H5PY if one in ("shuffle", "bitshuffle") else CHUNKS
    filtered(f"{one} of floats that cuts samples", FLOATS, CUT, one, path=unknown)
    filtered(f"{one} of noise", NOISE, (7, 999), one)
    filtered(f"{one} in chunks of one row", images(dtype=">i4"), (1, 4, 4, 3), one)
    filtered(
        f"{one} in one chunk beyond the data", IMAGES, (64, 5, 4, 4), one, path=unknown, **BEYOND
    )
    filtered(f"{one}, fletcher32", images(dtype="u2"), WHOLE, one, fletcher32)
    filtered(f"fletcher32, {one}", images(dtype="u2"), WHOLE, fletcher32, one)

for one in COMPRESSORS:
    filtered(f"shuffle, {one}", images(dtype="f8"), WHOLE, shuffle, one)

# A filter that is applied twice is set up once: no neighbours of one number. And szip does not
# store all that other compressors make.
CIRCLE = (
    *("gzip", "lzf", "szip", "blosc", "lz4", "blosc2", "bitshuffle + lz4", "zstd"),
    *("szip without differences", "blosc of bits", "bzip2", "lz4 in blocks"),
    *("bitshuffle + zstd", "blosc2 in blocks"),
)
assert set(CIRCLE) == set(COMPRESSORS)
for one, other in zip(CIRCLE, CIRCLE[1:] + CIRCLE[:1], strict=True):
    first, then = (other, one) if "szip" in other else (one, other)
    filtered(f"{first}, {then}", images(dtype="i4"), WHOLE, first, then)
    filtered(f"{first} shuffled, {then}", images(dtype="i4"), WHOLE, first, shuffle, then)

for dtype in ("S7", "V300", GAPPED, "<c16", "?"):
    for one in ("shuffle", "blosc", "bitshuffle + lz4", "lzf"):
        filtered(f"{one} of {np.dtype(dtype).str}", typed(dtype), (7, 5), one)

for dtype in ("S7", GAPPED, "<c16", "?"):
    filtered(f"blosc2 of {np.dtype(dtype).str}", typed(dtype), (7, 5), "blosc2")

filtered("shuffle, gzip, fletcher32", images(dtype="i4"), CUT, "shuffle", "gzip", "fletcher32")
filtered("gzip twice", images(dtype="i4"), WHOLE, "gzip", "gzip")
filtered("all at once", images(dtype="u2"), CUT, "bitshuffle", "lzf", "fletcher32", "zstd", "lz4")
filtered("labels in zstd", np.arange(50), (7,), "zstd")
filtered("many zstd chunks", images(5000, (300,)), (64, 300), "zstd")
filtered(
    "nbit, zstd", images(dtype="i4"), WHOLE, "zstd", lambda p: p.set_filter(5, 0, ()), path=H5PY
)

for name in ("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd"):
    simple(f"blosc with {name}", CHUNKS, FLOATS, chunks=WHOLE, **hdf5plugin.Blosc(cname=name))
for name in ("blosclz", "lz4", "lz4hc", "zlib", "zstd"):
    simple(f"blosc2 with {name}", CHUNKS, FLOATS, chunks=WHOLE, **hdf5plugin.Blosc2(cname=name))
for level in (0, 9):
    storage = hdf5plugin.Blosc2(clevel=level, filters=hdf5plugin.Blosc2.BITSHUFFLE)
    simple(f"blosc2 at level {level}", CHUNKS, images(dtype="u2"), chunks=CUT, **storage)
simple(
    "blosc2 of large chunks",
    CHUNKS,
    images(20, (64, 90, 3)),
    chunks=(9, 64, 90, 3),
    **hdf5plugin.Blosc2(),
)
simple(
    "delta in blosc2",
    H5PY,
    FLOATS,
    chunks=WHOLE,
    **hdf5plugin.Blosc2(filters=hdf5plugin.Blosc2.DELTA),
)
simple("zfp", H5PY, FLOATS, chunks=WHOLE, **hdf5plugin.Zfp(reversible=True))


@case(CHUNKS)
def unwritten_zstd_chunks(file):
    made = file.create_dataset(
        "data", (50, 5), "f4", chunks=(7, 2), fillvalue=7, **hdf5plugin.Zstd()
    )
    made[14:30, 1:] = 1.5


@case(CHUNKS)
def zeros_and_others_in_blosc2(file):
    """Frames without a chunk, with a single value, and of NaN."""
    values = np.zeros((50, 8, 5), "f4")
    values[10:20] = 3
    values[20:30] = np.nan
    values[30:40] = np.arange(40).reshape(8, 5)
    file.create_dataset("data", data=values, chunks=(10, 8, 5), **hdf5plugin.Blosc2())


@case(CHUNKS)
def resized_lz4(file):
    made = file.create_dataset(
        "data", data=IMAGES, chunks=CUT, maxshape=(None,) * 4, **hdf5plugin.LZ4()
    )
    made.resize((70, 6, 5, 4))
    made[60:, 2:, 2:, 1:] = 9
    made.resize((65, 5, 5, 4))


for version in ("earliest", "latest"):
    for size in (50, 400):
        simple(
            f"{version} zstd index of {size} rows",
            CHUNKS,
            images(size),
            {"libver": version},
            chunks=CUT,
            maxshape=(None,) * 4,
            **hdf5plugin.Zstd(),
        )

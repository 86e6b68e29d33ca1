"""Virtual datasets in many forms, and how each ought to be read."""

import h5py
import numpy as np
from h5py import h5s

from tests.files import images, write

IMAGES = images(40)

WAYS = {
    "contiguous": ({}, "direct rows"),
    "raw chunks": ({"chunks": (4, 4, 4, 3)}, "direct rows"),
    "gzip": ({"chunks": (4, 4, 4, 3), "compression": "gzip"}, "direct chunks"),
    "h5py": ({"chunks": (4, 4, 4, 3), "scaleoffset": 0}, "h5py"),
}


def by_address(storage):
    """Sources of different lengths in an order of their own, gaps, and a source in two pieces."""

    def make(file, folder):
        for name, rows in (("a", slice(0, 13)), ("b", slice(13, 33)), ("c", slice(33, 40))):
            write(folder / f"{name}.h5", **{"x/y": {"data": IMAGES[rows], **storage}})
        layout = h5py.VirtualLayout((60, 4, 4, 3), "u1")
        layout[2:15] = h5py.VirtualSource("a.h5", "x/y", (13, 4, 4, 3))
        layout[15:25] = h5py.VirtualSource("b.h5", "x/y", (20, 4, 4, 3))[10:]
        layout[30:37] = h5py.VirtualSource("c.h5", "x/y", (7, 4, 4, 3))
        layout[40:46] = h5py.VirtualSource("b.h5", "x/y", (20, 4, 4, 3))[3:9]
        file.create_virtual_dataset("data", layout, fillvalue=9)

    return make


def in_one_file(file, folder):
    """Contiguous, compressed and virtual sources in the file itself."""
    file["plain"] = IMAGES
    file.create_dataset("packed", data=IMAGES, chunks=(7, 4, 4, 3), compression="gzip")
    middle = h5py.VirtualLayout((50, 4, 4, 3), "u1")
    middle[:40] = h5py.VirtualSource(".", "plain", IMAGES.shape)
    file.create_virtual_dataset("middle", middle, fillvalue=5)
    layout = h5py.VirtualLayout((80, 4, 4, 3), "u1")
    layout[:45] = h5py.VirtualSource(".", "middle", (50, 4, 4, 3))[5:]
    layout[45:80] = h5py.VirtualSource(".", "packed", IMAGES.shape)[:35]
    file.create_virtual_dataset("data", layout)


def unlimited(file, folder):
    """As many rows as the source has."""
    data = {"data": IMAGES, "chunks": (8, 4, 4, 3), "maxshape": (None, 4, 4, 3)}
    write(folder / "a.h5", x=data)
    shape, most = (40, 4, 4, 3), (None, 4, 4, 3)
    layout = h5py.VirtualLayout(shape, "u1", maxshape=most)
    source = h5py.VirtualSource("a.h5", "x", shape, maxshape=most)
    layout[: h5s.UNLIMITED] = source[: h5s.UNLIMITED]
    file.create_virtual_dataset("data", layout)


def records(file, folder):
    """Compound values, whose members are picked in the sources."""
    dtype = np.dtype([("a", "<i4"), ("b", ">f8", (2,))])
    layout = h5py.VirtualLayout((40,), dtype)
    for k in range(2):
        values = np.zeros(20, dtype)
        values["a"], values["b"] = np.arange(20) + 20 * k, np.arange(40).reshape(20, 2) * (k + 1)
        write(folder / f"{k}.h5", x=values)
        layout[k * 20 : k * 20 + 20] = h5py.VirtualSource(f"{k}.h5", "x", (20,))
    file.create_virtual_dataset("data", layout)


def without_sources(file, folder):
    """Fill values alone."""
    file.create_virtual_dataset("data", h5py.VirtualLayout((40, 3), "f4"), fillvalue=2.5)


def strided(file, folder):
    """Rows of two sources in turns."""
    layout = h5py.VirtualLayout((80, 4, 4, 3), "u1")
    for k in range(2):
        write(folder / f"{k}.h5", x=IMAGES[:: 1 - 2 * k])
        layout[k::2] = h5py.VirtualSource(f"{k}.h5", "x", IMAGES.shape)
    file.create_virtual_dataset("data", layout)


def strided_source(file, folder):
    """Every other row of a source."""
    write(folder / "a.h5", x=IMAGES)
    layout = h5py.VirtualLayout((20, 4, 4, 3), "u1")
    layout[:] = h5py.VirtualSource("a.h5", "x", IMAGES.shape)[::2]
    file.create_virtual_dataset("data", layout)


def in_columns(file, folder):
    """Samples put together of two sources."""
    layout = h5py.VirtualLayout((40, 8, 4, 3), "u1")
    for k in range(2):
        write(folder / f"{k}.h5", x=IMAGES[:: 1 - 2 * k])
        layout[:, k * 4 : k * 4 + 4] = h5py.VirtualSource(f"{k}.h5", "x", IMAGES.shape)
    file.create_virtual_dataset("data", layout)


def columns_left_out(file, folder):
    """Samples narrower than those of the source."""
    write(folder / "a.h5", x=IMAGES)
    layout = h5py.VirtualLayout((40, 3, 4, 3), "u1")
    layout[:] = h5py.VirtualSource("a.h5", "x", IMAGES.shape)[:, 1:]
    file.create_virtual_dataset("data", layout)


def stacked(storage):
    """Each source is one sample."""

    def make(file, folder):
        layout = h5py.VirtualLayout((6, 40, 4, 4, 3), "u1")
        for k in range(5):
            write(folder / f"{k}.h5", x={"data": IMAGES // 2 + np.uint8(k), **storage})
            layout[k] = h5py.VirtualSource(f"{k}.h5", "x", IMAGES.shape)
        file.create_virtual_dataset("data", layout, fillvalue=3)

    return make


def stacked_pieces(file, folder):
    """Samples of four rows of a source each, from its second row on."""
    write(folder / "a.h5", x={"data": IMAGES, "chunks": (6, 4, 4, 3), "compression": "gzip"})
    layout = h5py.VirtualLayout((9, 4, 4, 4, 3), "u1")
    layout[:] = h5py.VirtualSource("a.h5", "x", IMAGES.shape)[2:38]
    file.create_virtual_dataset("data", layout)


def stacked_numbers(file, folder):
    """Each source is one sample, and its rows are numbers."""
    layout = h5py.VirtualLayout((3, 100), "i4")
    for k in range(3):
        write(folder / f"{k}.h5", x=np.arange(100, dtype="i4") * k)
        layout[k] = h5py.VirtualSource(f"{k}.h5", "x", (100,))
    file.create_virtual_dataset("data", layout)


def reshaped(file, folder):
    """Samples of the same values in another shape."""
    write(folder / "a.h5", x=IMAGES)
    layout = h5py.VirtualLayout((40, 16, 3), "u1")
    layout[:] = h5py.VirtualSource("a.h5", "x", IMAGES.shape)
    file.create_virtual_dataset("data", layout)


def of_another_type(file, folder):
    """libhdf5 converts the values."""
    layout = h5py.VirtualLayout((40, 4, 4, 3), "f4")
    for k, dtype in enumerate(("i2", ">f8")):
        write(folder / f"{k}.h5", x=IMAGES[:20].astype(dtype) / 4)
        layout[k * 20 : k * 20 + 20] = h5py.VirtualSource(f"{k}.h5", "x", (20, 4, 4, 3))
    file.create_virtual_dataset("data", layout)


def very_deep(file, folder):
    """Virtual datasets of virtual datasets."""
    file["x0"] = IMAGES
    for k in range(12):
        layout = h5py.VirtualLayout(IMAGES.shape, "u1")
        layout[:] = h5py.VirtualSource(".", f"x{k}", IMAGES.shape)
        file.create_virtual_dataset(f"x{k + 1}" if k < 11 else "data", layout)


with h5py.File("alone", "w", driver="core", backing_store=False) as opened:
    # Before HDF5 2.0, h5py made an ordinary dataset of it.
    without_sources(opened, None)
    ALONE = "direct rows" if opened["data"].is_virtual else "h5py"

FORMS = {
    **{f"by address, {name}": (by_address(storage), way) for name, (storage, way) in WAYS.items()},
    **{f"stacked, {name}": (stacked(storage), way) for name, (storage, way) in WAYS.items()},
    **{
        make.__name__: (make, way)
        for make, way in (
            (in_one_file, "direct chunks"),
            (unlimited, "direct rows"),
            (records, "direct rows"),
            (without_sources, ALONE),
            (strided, "h5py"),
            (strided_source, "h5py"),
            (in_columns, "h5py"),
            (columns_left_out, "h5py"),
            (stacked_pieces, "direct chunks"),
            (stacked_numbers, "h5py"),
            (reshaped, "h5py"),
            (of_another_type, "h5py"),
            (very_deep, "h5py"),
        )
    },
}

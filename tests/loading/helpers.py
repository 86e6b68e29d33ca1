"""What the tests of loading share."""

import threading

import headrace as hr

SMALL = 40_000  # bytes: several windows for the files of `make_images`

STORAGE = {
    "gzip": {},
    "contiguous": {"contiguous": True},
    "raw chunks": {"chunks": (16, 4, 4, 3)},
    "cut chunks": {"chunks": (10, 3, 4, 2), "compression": "gzip", "shuffle": True},
    "h5py": {"chunks": (16, 4, 4, 3), "scaleoffset": 8},
}


def dataset(images, **kwargs):
    """Images with their label and id as y."""
    return hr.from_hdf5(images.path, x="image", y=["label", "id"], **kwargs)


def ids_of(loader):
    """The ids of one epoch, batch by batch."""
    return [y[1].copy() for _, y in loader]


def threads():
    """The loaders' threads that are alive."""
    return [t for t in threading.enumerate() if t.name.startswith("headrace")]

"""Opens a file with h5py alone, and looks at all of it: what crashes here is no fault of Headrace.

`python -m tests.fuzz.plain FILE`, or with `samples` behind it to read those as well.
"""

import sys

import h5py
import hdf5plugin
from h5py import h5d, h5g

assert hdf5plugin  # registers its filters
LARGEST = 32 << 20
MOST_GROUPS = 1000
ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError, MemoryError, OverflowError)


def look(path, samples):
    """Does with h5py what Headrace has it do."""
    try:
        with h5py.File(path, "r") as file:
            names = ["data", *_names(file)]
            for name in dict.fromkeys(names):
                _look_at(file, name, samples)
    except ERRORS as error:
        print(f"{type(error).__name__}: {error}")


def _names(file):
    found = []
    try:
        file.visit(found.append)
    except ERRORS as error:
        print(f"visit: {type(error).__name__}: {error}")
    _list_groups(file)
    return found[:20]


def _list_groups(file):
    # A visit opens each object before the next: it may end before it lists what crashes.
    groups, seen = [file["/"]], set()
    while groups and len(seen) < MOST_GROUPS:
        group = groups.pop()
        seen.add(group.name)
        for name in list(group):
            try:
                hard = isinstance(group.get(name, getlink=True), h5py.HardLink)
                found = group.get(name) if hard else None
            except ERRORS as error:
                print(f"{name}: {type(error).__name__}: {error}")
                continue
            if isinstance(found, h5py.Group) and found.name not in seen:
                groups.append(found)


def _look_at(file, name, samples):
    try:
        file.get(name, getlink=True)
        h5g.get_objinfo(file.id, name.encode())
        dataset = file.get(name)
        if not isinstance(dataset, h5py.Dataset):
            return
        plist = dataset.id.get_create_plist()
        for number in range(plist.get_nfilters()):
            plist.get_filter(number)
        print(name, dataset.shape, dataset.dtype, dataset.chunks, dataset.fillvalue)
        if dataset.is_virtual:
            dataset.virtual_sources()
        if plist.get_layout() == h5d.CHUNKED and dataset.size < 1 << 24:
            dataset.id.chunk_iter(lambda info: None)
        if not samples:
            return
        if dataset.size * dataset.dtype.itemsize <= LARGEST:
            dataset[()]
        else:
            dataset[:1], dataset[-1:]
    except ERRORS as error:
        print(f"{name}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    look(sys.argv[1], "samples" in sys.argv[2:])

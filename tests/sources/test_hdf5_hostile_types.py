"""Filters and types that are made to exhaust or mislead: refused or bounded, and soon."""

import struct
import sys

import h5py
import numpy as np
import pytest
from h5py import h5d, h5s, h5t, h5z

import headrace as hr
from headrace.errors import (
    FieldNotFoundError,
    TypeNotSupportedError,
)
from headrace.sources.hdf5 import HDF5Source
from headrace.sources.hdf5.filters import names
from tests.files import shuffle
from tests.fuzz import checksum
from tests.sources.hostile_files import declare, refused

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")


def test_thirty_two_filters_are_undone(look, path):
    """As many as HDF5 allows."""
    declare(path, (16, 8), chunks=(8, 8), filters=[shuffle] * 32)
    assert look()["all"] == ["fine", "np.uint64(0)"]


def test_a_filter_of_a_thousand_parameters_is_refused(look, path):
    """Some versions of h5py do not look at so many."""

    def unknown(plist):
        plist.set_filter(31_000, h5z.FLAG_OPTIONAL, tuple(range(1000)))

    declare(path, (16, 8), chunks=(8, 8), filters=[unknown], raw={(0, 0): bytes(64)})
    found = look()
    assert found["open"][0] in ("FileFormatError", "MissingDependencyError"), found
    assert "'x' in" in found["open"][1]


@pytest.mark.parametrize(
    "step, parameters, wrong",
    [
        (names.SZIP, (141, 8, 8, 64), (141, 0, 8, 64)),
        (names.SZIP, (141, 8, 8, 64), (141, 8, 8, 0)),
        (names.SZIP, (141, 8, 8, 64), (141, 9, 8, 64)),
        (names.BITSHUFFLE, (0, 4, 1, 0, 2), (0, 4, 0, 0, 2)),
    ],
)
def test_filters_on_which_decoders_crash_are_refused(look, path, step, parameters, wrong):
    """They divide by what they find, for example."""
    import hdf5plugin  # noqa: F401 - gives libhdf5 its filters

    if not h5z.filter_avail(step):
        pytest.skip("libhdf5 was built without the filter")

    def add(plist):
        plist.set_filter(step, h5z.FLAG_OPTIONAL, parameters)

    raw = {(0, 0): bytes(100)}
    declare(path, (16, 8), chunks=(8, 8), filters=[add], libver="latest", raw=raw)
    with h5py.File(path, "r") as file:
        stored = file["x"].id.get_create_plist().get_filter(0)[2]
    content = bytearray(path.read_bytes())
    pieces = checksum.find(bytes(content))
    at = content.index(struct.pack(f"<{len(stored)}I", *stored))
    content[at : at + 4 * len(wrong)] = struct.pack(f"<{len(wrong)}I", *wrong)
    checksum.repair(content, pieces)
    path.write_bytes(content)
    refused(look(), "'x' in", "is damaged", "has the invalid parameters", error="FileFormatError")


def test_compound_values_whose_parts_overlap_are_refused(look, path):
    declare(path, (5,), np.dtype([("a", "<i8"), ("b", "<i4")]), libver="latest")
    content = bytearray(path.read_bytes())
    pieces = checksum.find(bytes(content))
    at = content.index(b"b\0") + 2
    assert content[at] == 8
    content[at] = 4
    checksum.repair(content, pieces)
    path.write_bytes(content)
    refused(look(), "overlaps", error="FileFormatError")


def test_compound_values_that_h5py_mixes_up_are_read_one_by_one(path):
    """bfloat16 becomes float32, which reaches into its neighbour."""
    half = h5t.IEEE_F32LE.copy()
    half.set_fields(15, 7, 8, 0, 7)
    half.set_size(2)
    half.set_ebias(127)
    kind = h5t.create(h5t.COMPOUND, 6)
    kind.insert(b"a", 0, half)
    kind.insert(b"b", 2, h5t.IEEE_F32LE)
    values = np.array([(1.5, 7), (2.5, 8)], [("a", "<f4"), ("b", "<f4")])
    with h5py.File(path, "w") as file:
        made = h5d.create(file.id, b"x", kind, h5s.create_simple((2,)))
        made.write(h5s.ALL, h5s.ALL, values, mtype=h5t.py_create(values.dtype))
    with pytest.raises(
        TypeNotSupportedError, match=r"members overlap in h5py\. Name .* \"x\['a'\]\""
    ):
        HDF5Source(path, ["x"])
    for name in "ab":
        assert hr.from_hdf5(path, x=f"x['{name}']")[:][0].tolist() == values[name].tolist()


def test_compound_values_of_a_thousand_members_open(look, path):
    kind = np.dtype([(f"m{i}", "u1") for i in range(1000)])
    declare(path, (5,), kind)
    assert look()["all"] == ["fine", "5"]


def test_types_in_types_without_end_are_refused(look, path):
    """libhdf5 takes minutes for a thousand."""
    kind = h5t.STD_U8LE
    for _ in range(2000):
        outer = h5t.create(h5t.COMPOUND, 1)
        outer.insert(b"a", 0, kind)
        kind = outer
    declare(path, (4,), kind, libver="latest")
    refused(look(), "nested more than 32 levels deep")


def test_named_types_are_types_like_others(path):
    with h5py.File(path, "w") as file:
        file["type"] = np.dtype([("a", "<i4"), ("b", "<f4")])
        file.create_dataset("x", (3,), file["type"])
    source = HDF5Source(path, ["x"])
    assert source.fields[0].dtype == np.dtype([("a", "<i4"), ("b", "<f4")])
    with pytest.raises(FieldNotFoundError, match=r"'type' in .* is a named type"):
        HDF5Source(path, ["type"])


def test_values_of_two_gigabytes_each_are_refused(look, path):
    declare(path, (4,), h5t.py_create(np.dtype("S2000000000")))
    refused(look(), "values of 2000000000 bytes each")

"""Virtual datasets read where their rows lie: the same values as through h5py."""

import itertools

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import DataError, ReadError
from headrace.sources.hdf5 import HDF5Source
from headrace.testing import SourceTests, check_any_order, check_reads
from tests.files import damage, gzip, write
from tests.sources.storage import read
from tests.sources.virtual_forms import FORMS, IMAGES, WAYS, by_address, records


def join(folder):
    """A virtual dataset of the twenty images of part-0.h5 and those of part-1.h5."""
    layout = h5py.VirtualLayout((40, 4, 4, 3), "u1")
    for k in range(2):
        source = h5py.VirtualSource(f"part-{k}.h5", "image", (20, 4, 4, 3))
        layout[k * 20 : k * 20 + 20] = source
    with h5py.File(folder / "virtual.h5", "w") as file:
        file.create_virtual_dataset("image", layout)
    return folder / "virtual.h5"


class TestVirtual(SourceTests):
    """Every form of mapping, by address where whole rows follow each other."""

    @pytest.fixture(scope="class", params=FORMS)
    @classmethod
    def form(cls, request, tmp_path_factory):
        """A file, and how it ought to be read."""
        make, way = FORMS[request.param]
        folder = tmp_path_factory.mktemp("virtual")
        with h5py.File(folder / "virtual.h5", "w") as file:
            make(file, folder)
        return folder / "virtual.h5", way

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, form):
        return HDF5Source(form[0], ["data"])

    @pytest.fixture(scope="class")
    @classmethod
    def oracle(cls, form):
        with h5py.File(form[0], "r") as file:
            values = file["data"][()]
        return {"data": values.astype(values.dtype.newbyteorder("="))}

    def test_takes_the_expected_path(self, source, form):
        assert source.read_paths()["data"].path == form[1], source.read_paths()["data"].reason


class TestMembersOfVirtual(SourceTests):
    """Members of compound values that lie in other files."""

    @pytest.fixture
    def source(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            records(file, tmp_path)
        return HDF5Source(tmp_path / "a.h5", ["data['b']", "data['a']"])

    @pytest.fixture
    def oracle(self):
        b = np.arange(40).reshape(20, 2)
        return {
            "data['b']": np.concatenate([b, b * 2]).astype("f8"),
            "data['a']": np.arange(40, dtype="i4"),
        }


def test_blocks_are_those_of_the_sources(tmp_path):
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        by_address(WAYS["gzip"][0])(file, tmp_path)
    source = HDF5Source(tmp_path / "virtual.h5", ["data"])
    offsets = [0, 2, 6, 10, 14, 15, 17, 21, 25, 30, 34, 37, 40, 41, 45, 46, 60]
    assert source.block_offsets(["data"]).tolist() == offsets
    path = source.read_paths()["data"]
    assert path.reason == "virtual dataset of 3 sources, read by address: gzip, decoded in threads"


def test_the_report_counts_the_sources_that_h5py_reads(tmp_path):
    write(tmp_path / "part-0.h5", image=IMAGES[:20])
    write(tmp_path / "part-1.h5", image={"data": IMAGES[20:], "scaleoffset": 0})
    source = HDF5Source(join(tmp_path), ["image"])
    reason = (
        "virtual dataset of 2 sources, 1 of them by h5py: filter scaleoffset is decoded by libhdf5"
    )
    assert (source.read_paths()["image"].path, source.read_paths()["image"].reason) == (
        "h5py",
        reason,
    )
    assert (read(source) == IMAGES).all()


def test_damage_in_a_source_names_it_and_the_rows(tmp_path):
    for k in range(2):
        write(tmp_path / f"part-{k}.h5", image=gzip(IMAGES[k * 20 :][:20]))
    damage(tmp_path / "part-1.h5", "image", 1)
    source = HDF5Source(join(tmp_path), ["image"])
    with pytest.raises(
        ReadError, match=r"rows 20 to 39 of 'image' failed: Rows 8 to 15 of 'image' in '.*part-1"
    ):
        read(source)


LENGTHS = (1, 9, 20)
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A file with sources of several lengths, stored in several ways."""
    path = tmp_path_factory.mktemp("law") / "sources.h5"
    ways = ({}, {"chunks": (4, 2), "compression": "gzip"}, {"chunks": (3, 2)})
    with h5py.File(path, "w") as file:
        for k, (length, storage) in enumerate(zip(LENGTHS, ways[: len(LENGTHS)], strict=True)):
            data = np.arange(length * 2, dtype="i4").reshape(length, 2) + 1000 * k
            storage = storage if length > 4 else {}
            file.create_dataset(str(k), data=data, **storage)
    return path


@st.composite
def mapping(draw):
    """Rows of a virtual dataset of forty rows, and as many of a source."""
    source = draw(st.integers(0, len(LENGTHS) - 1))
    count = draw(st.integers(1, LENGTHS[source]))
    first = draw(st.integers(0, LENGTHS[source] - count))
    return draw(st.integers(0, 40 - count)), count, source, first


@given(st.lists(mapping(), max_size=5), st.sets(st.integers(0, 39), min_size=1))
@settings(max_examples=150)
def test_any_mapping_gives_what_h5py_gives(sources, parts, some):
    """Or a refusal, where a row lies in two sources: libhdf5 gives anything then."""
    layout = h5py.VirtualLayout((40, 2), "i4")
    for start, count, source, first in parts:
        whole = h5py.VirtualSource("sources.h5", str(source), (LENGTHS[source], 2))
        layout[start : start + count] = whole[first : first + count]
    path = sources.parent / f"{next(NUMBERS)}.h5"
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("image", layout, fillvalue=-1)
    rows = [row for start, count, *_ in parts for row in range(start, start + count)]
    if len(set(rows)) < len(rows):
        with pytest.raises(DataError, match=r"row \d+ is mapped to two of its sources"):
            HDF5Source(path, ["image"])
        return
    with h5py.File(path, "r") as file:
        oracle = {"image": file["image"][()]}
    source = HDF5Source(path, ["image"])
    check_reads(source, oracle, np.arange(40))
    check_reads(source, oracle, np.array(sorted(some)))
    check_any_order(source, oracle)
    offsets = source.block_offsets(["image"])
    assert (offsets[0], offsets[-1]) == (0, 40)
    assert (np.diff(offsets) > 0).all()

"""Virtual datasets: every source is there, or it is an error."""

import os
import pickle
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
from h5py import h5s

import penstock as ps
from penstock.errors import ChangedFileError, DataError, MissingFileError, ReadError, ShapeError
from penstock.sources import empty_arrays, run_reads
from penstock.sources.hdf5 import HDF5Source
from penstock.testing import SourceTests
from tests.files import create, damage, gzip, images, write

IMAGES = images(40)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def path(folder):
    return folder / "virtual.h5"


@pytest.fixture
def parts(folder):
    """Two files of twenty images."""
    made = [write(folder / f"part-{k}.h5", image=IMAGES[k * 20 :][:20]) for k in range(2)]
    for part in made:
        os.utime(part, ns=(10**18, 10**18))
    return made


def join(path, *sources, shape=(20, 4, 4, 3), name="image", length=None):
    """Writes a virtual dataset of sources, twenty rows each."""
    length = length or 20 * len(sources)
    layout = h5py.VirtualLayout((length, *shape[1:]), "u1")
    for k, source in enumerate(sources):
        layout[k * 20 : k * 20 + 20] = h5py.VirtualSource(str(source), "image", shape)[:20]
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset(name, layout)
    return path


def read(source):
    out = empty_arrays(source.fields, source.length)
    run_reads(source.reads(np.arange(source.length), out))
    return out["image"]


def refused(path, *patterns):
    with pytest.raises(DataError) as caught:
        HDF5Source(path, ["image"])
    for pattern in (re.escape(f"'image' in '{path}'"), *patterns):
        assert re.search(pattern, str(caught.value)), str(caught.value)


def test_reads_sources_beside_it(path, parts):
    source = HDF5Source(join(path, *(part.name for part in parts)), ["image"])
    assert (read(source) == IMAGES).all()


def test_reads_through_absolute_paths_in_its_folder(path, parts):
    assert (read(HDF5Source(join(path, *parts), ["image"])) == IMAGES).all()


def test_reads_through_links_to_the_folder(path, parts, tmp_path, monkeypatch):
    """Where the user stands, and how the folder is called, does not matter."""
    join(path, *(part.name for part in parts))
    (tmp_path / "link").symlink_to(path.parent)
    monkeypatch.chdir(tmp_path)
    assert (read(HDF5Source("link/virtual.h5", ["image"])) == IMAGES).all()
    (tmp_path / "alias.h5").symlink_to(path)
    assert (read(HDF5Source("alias.h5", ["image"])) == IMAGES).all()
    monkeypatch.chdir(tmp_path / "link")
    assert (read(HDF5Source("virtual.h5", ["image"])) == IMAGES).all()


def test_a_missing_source_is_an_error(path, parts):
    """libhdf5 reads it as fill values."""
    join(path, *(part.name for part in parts))
    parts[1].unlink()
    refused(path, r"part-1\.h5' is missing", "fill values", "Bring it back")


def test_a_missing_dataset_in_a_source_is_an_error(path, parts):
    join(path, *(part.name for part in parts))
    write(parts[1], picture=IMAGES)
    refused(path, r"no field 'image' in .*part-1\.h5'", "holds: picture")


def test_a_source_that_is_too_small_is_an_error(path, parts):
    join(path, *(part.name for part in parts))
    write(parts[1], image=IMAGES[:19])
    refused(path, r"part-1\.h5' has shape \(19, 4, 4, 3\)", r"up to \(20, 4, 4, 3\)", "make up")


def test_a_source_that_is_no_hdf5_is_an_error(path, parts):
    join(path, *(part.name for part in parts))
    parts[0].write_text("a,b\n1,2\n")
    refused(path, r"part-0\.h5' is no HDF5 file", "CSV")


@pytest.mark.parametrize("name", ["../outside.h5", "/etc/passwd", "../data/../outside.h5"])
def test_a_source_outside_the_folder_is_refused(path, folder, name):
    """A file from a stranger could read any other."""
    write(folder.parent / "outside.h5", image=IMAGES[:20])
    join(path, name)
    refused(path, "outside the folder", "Move the files together")


def test_a_link_to_outside_the_folder_is_refused(path, folder):
    outside = write(folder.parent / "outside.h5", image=IMAGES[:20])
    (folder / "inside.h5").symlink_to(outside)
    refused(join(path, "inside.h5"), "outside the folder")


def test_sources_of_sources_are_looked_at(path, folder, parts):
    join(folder / "middle.h5", *(part.name for part in parts))
    join(path, "middle.h5")
    assert (read(HDF5Source(path, ["image"])) == IMAGES[:20]).all()
    parts[0].unlink()
    refused(path, r"part-0\.h5' is missing")


def test_a_source_in_external_storage_is_refused(path, folder, parts):
    with h5py.File(parts[0], "w") as file:
        file.create_dataset(
            "image", data=IMAGES[:20], external=[(str(folder / "raw"), 0, IMAGES.nbytes)]
        )
    refused(join(path, parts[0].name), r"part-0\.h5' keeps its data in other files")


def test_a_source_behind_an_external_link_is_refused(path, parts):
    with h5py.File(parts[0], "w") as file:
        file["image"] = h5py.ExternalLink("part-1.h5", "image")
    refused(join(path, parts[0].name), "a link into another file")


def test_a_circle_of_sources_ends(path, folder):
    """libhdf5 would follow it until the stack is full."""
    join(path, "other.h5")
    join(folder / "other.h5", "virtual.h5")
    refused(path, "circle")


def numbered(path, pattern="part-%b.h5", name="image"):
    """Writes a virtual dataset of files with numbers, twenty rows each."""
    one, every = (20, 4, 4, 3), (None, 4, 4, 3)
    mapped = h5s.create_simple(one, (h5s.UNLIMITED, 4, 4, 3))
    mapped.select_hyperslab((0,) * 4, (h5s.UNLIMITED, 1, 1, 1), one, one)

    def by_pattern(plist):
        plist.set_virtual(mapped, pattern.encode(), name.encode(), h5s.create_simple(one))

    with h5py.File(path, "w", libver="latest") as file:
        create(file, "image", np.empty((20, 4, 4, 3), "u1"), maxshape=every, options=by_pattern)
    return path


def test_names_by_number_are_followed(path, parts):
    source = HDF5Source(numbered(path), ["image"])
    assert (read(source) == IMAGES).all()
    assert source.paths()["image"].path == "direct rows"


def test_a_missing_number_is_an_error(path, parts):
    """libhdf5 takes it for the end."""
    numbered(path)
    write(parts[0].parent / "part-3.h5", image=IMAGES[:20])
    refused(path, r"part-2\.h5' is missing while", r"part-3\.h5' is there", "Bring it back")
    parts[0].unlink()
    refused(path, r"part-0\.h5' is missing while", r"part-1\.h5' is there")


def test_no_number_at_all_is_an_error(path):
    with pytest.raises(ShapeError, match=r"'image' in .* is empty"):
        HDF5Source(numbered(path), ["image"])


def test_datasets_by_number_are_refused(path, parts):
    """With them, a missing one cannot be told from the end."""
    numbered(path, "part-0.h5", "image%b")
    refused(path, "pattern", "image%b", "own name")


def test_a_numbered_source_that_is_too_small_is_an_error(path, parts):
    numbered(path)
    write(parts[1], image=IMAGES[:19])
    refused(path, r"part-1\.h5' has shape \(19, 4, 4, 3\)", "expects a larger one")


def test_a_percent_sign_in_a_name_is_no_pattern(path, folder):
    write(folder / "100%b.h5", image=IMAGES[:20])
    assert (read(HDF5Source(join(path, "100%%b.h5"), ["image"])) == IMAGES[:20]).all()


@pytest.fixture(params=["contiguous", "gzip", "lzf", "in columns"])
def stored(request, path, folder):
    """A virtual dataset of sources in each form, and one that only libhdf5 puts together."""
    storage = {"gzip": gzip(IMAGES), "lzf": {"data": IMAGES, "compression": "lzf"}}
    for k in range(2):
        part = {**storage.get(request.param, {}), "data": IMAGES[k * 20 :][:20]}
        os.utime(write(folder / f"part-{k}.h5", image=part), ns=(10**18, 10**18))
    join(path, "part-0.h5", "part-1.h5")
    if request.param == "in columns":
        layout = h5py.VirtualLayout((20, 4, 4, 3), "u1")
        layout[:, :2] = h5py.VirtualSource("part-0.h5", "image", (20, 4, 4, 3))[:, :2]
        layout[:, 2:] = h5py.VirtualSource("part-1.h5", "image", (20, 4, 4, 3))[:, 2:]
        with h5py.File(path, "w") as file:
            file.create_virtual_dataset("image", layout)
    return path


@pytest.mark.parametrize("used_before", [False, True])
def test_a_source_that_vanishes_is_an_error_or_still_open(stored, used_before):
    """libhdf5 would go on with fill values."""
    with h5py.File(stored, "r") as file:
        expected = file["image"][()]
    source = HDF5Source(stored, ["image"])
    if used_before:
        read(source)
    (stored.parent / "part-1.h5").unlink()
    try:
        assert (read(source) == expected).all()
    except (ChangedFileError, MissingFileError) as error:
        assert "part-1.h5'" in str(error)  # noqa: PT017 - or no error at all
    copy = pickle.loads(pickle.dumps(source))
    with pytest.raises((ChangedFileError, MissingFileError), match=r"part-1\.h5'"):
        read(copy)


@pytest.mark.parametrize("used_before", [False, True])
def test_a_source_that_is_written_to_is_an_error(stored, used_before):
    source = HDF5Source(stored, ["image"])
    if used_before:
        read(source)
    part = stored.parent / "part-1.h5"
    part.write_bytes(part.read_bytes()[:-100] + bytes(100))
    with pytest.raises(ChangedFileError, match=r"'image' failed: .*part-1\.h5' .*since it was"):
        read(source)


def test_a_virtual_file_that_is_written_to_is_an_error(stored):
    """It may name other sources by now."""
    source = HDF5Source(stored, ["image"])
    os.utime(stored, ns=(10**18, 10**18))
    with pytest.raises(ChangedFileError, match=r"virtual\.h5' was written to"):
        read(source)


def test_sources_are_not_held_open_before_they_are_read(stored):
    """Nothing keeps writers away."""
    source = HDF5Source(stored, ["image"])
    h5py.File(stored.parent / "part-1.h5", "r+").close()
    assert source.length


def test_the_fingerprint_sees_the_sources(stored):
    before = HDF5Source(stored, ["image"]).fingerprint()
    assert HDF5Source(stored, ["image"]).fingerprint() == before
    write(stored.parent / "part-1.h5", image=IMAGES[:20])
    assert HDF5Source(stored, ["image"]).fingerprint() != before


def test_rows_that_no_source_has_are_fill_values(path, parts):
    """That is what the file says, and no mistake."""
    source = HDF5Source(join(path, parts[0].name, length=30), ["image"])
    assert (read(source)[:20] == IMAGES[:20]).all()
    assert not read(source)[20:].any()


def test_mappings_without_bounds_read(path, folder):
    with h5py.File(folder / "part-0.h5", "w") as file:
        file.create_dataset("image", data=IMAGES[:20], chunks=True, maxshape=(None, 4, 4, 3))
    inner = h5py.VirtualSource("part-0.h5", "image", (20, 4, 4, 3), maxshape=(None, 4, 4, 3))
    layout = h5py.VirtualLayout((20, 4, 4, 3), "u1", maxshape=(None, 4, 4, 3))
    layout[: h5py.h5s.UNLIMITED] = inner[: h5py.h5s.UNLIMITED]
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("image", layout)
    assert (read(HDF5Source(path, ["image"])) == IMAGES[:20]).all()


# By address.

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


def stacked(file, folder):
    """Each source is one sample."""
    layout = h5py.VirtualLayout((5, 40, 4, 4, 3), "u1")
    for k in range(5):
        write(folder / f"{k}.h5", x=IMAGES + np.uint8(k))
        layout[k] = h5py.VirtualSource(f"{k}.h5", "x", IMAGES.shape)
    file.create_virtual_dataset("data", layout)


def of_another_type(file, folder):
    """libhdf5 converts the values."""
    layout = h5py.VirtualLayout((40, 4, 4, 3), "f4")
    for k, dtype in enumerate(("i2", ">f8")):
        write(folder / f"{k}.h5", x=IMAGES[:20].astype(dtype) / 4)
        layout[k * 20 : k * 20 + 20] = h5py.VirtualSource(f"{k}.h5", "x", (20, 4, 4, 3))
    file.create_virtual_dataset("data", layout)


def overlapping(file, folder):
    """The later one wins, or not."""
    write(folder / "a.h5", x=IMAGES[:20])
    layout = h5py.VirtualLayout((30, 4, 4, 3), "u1")
    layout[:20] = h5py.VirtualSource("a.h5", "x", (20, 4, 4, 3))
    layout[10:30] = h5py.VirtualSource("a.h5", "x", (20, 4, 4, 3))
    file.create_virtual_dataset("data", layout)


def very_deep(file, folder):
    """Virtual datasets of virtual datasets."""
    file["x0"] = IMAGES
    for k in range(12):
        layout = h5py.VirtualLayout(IMAGES.shape, "u1")
        layout[:] = h5py.VirtualSource(".", f"x{k}", IMAGES.shape)
        file.create_virtual_dataset(f"x{k + 1}" if k < 11 else "data", layout)


FORMS = {
    **{f"by address, {name}": (by_address(storage), way) for name, (storage, way) in WAYS.items()},
    **{
        make.__name__: (make, way)
        for make, way in (
            (in_one_file, "direct chunks"),
            (unlimited, "direct rows"),
            (records, "direct rows"),
            (without_sources, "direct rows"),
            (strided, "h5py"),
            (strided_source, "h5py"),
            (in_columns, "h5py"),
            (columns_left_out, "h5py"),
            (stacked, "h5py"),
            (of_another_type, "h5py"),
            (overlapping, "h5py"),
            (very_deep, "h5py"),
        )
    },
}


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
        assert source.paths()["data"].path == form[1], source.paths()["data"].reason


class TestMembersOfVirtual(SourceTests):
    """Members of compound values that lie in other files."""

    @pytest.fixture
    def source(self, path, folder):
        with h5py.File(path, "w") as file:
            records(file, folder)
        return HDF5Source(path, ["data['b']", "data['a']"])

    @pytest.fixture
    def oracle(self):
        b = np.arange(40).reshape(20, 2)
        return {
            "data['b']": np.concatenate([b, b * 2]).astype("f8"),
            "data['a']": np.arange(40, dtype="i4"),
        }


def test_blocks_are_those_of_the_sources(path, folder):
    with h5py.File(path, "w") as file:
        by_address(WAYS["gzip"][0])(file, folder)
    source = HDF5Source(path, ["data"])
    edges = [0, 2, 6, 10, 14, 15, 17, 21, 25, 30, 34, 37, 40, 41, 45, 46, 60]
    assert source.edges(["data"]).tolist() == edges
    path = source.paths()["data"]
    assert path.reason == "virtual dataset of 3 sources, read by address: gzip, decoded in threads"


def test_the_report_counts_the_sources_that_h5py_reads(path, folder):
    write(folder / "part-0.h5", image=IMAGES[:20])
    write(folder / "part-1.h5", image={"data": IMAGES[20:], "scaleoffset": 0})
    source = HDF5Source(join(path, "part-0.h5", "part-1.h5"), ["image"])
    reason = (
        "virtual dataset of 2 sources, 1 of them by h5py: filter scaleoffset is decoded by libhdf5"
    )
    assert (source.paths()["image"].path, source.paths()["image"].reason) == ("h5py", reason)
    assert (read(source) == IMAGES).all()


def test_damage_in_a_source_names_it_and_the_rows(path, folder):
    for k in range(2):
        write(folder / f"part-{k}.h5", image=gzip(IMAGES[k * 20 :][:20]))
    damage(folder / "part-1.h5", "image", 1)
    source = HDF5Source(join(path, "part-0.h5", "part-1.h5"), ["image"])
    with pytest.raises(
        ReadError, match=r"rows 20 to 39 of 'image' failed: Rows 8 to 15 of 'image' in '.*part-1"
    ):
        read(source)


def test_an_epoch_of_virtual_data(path, parts):
    join(path, *(part.name for part in parts))
    with h5py.File(path, "a") as file:
        file["id"] = np.arange(40)
    data = ps.from_hdf5(path, x="image", y="id")
    got = np.zeros(40, int)
    for x, y in data.batch(7, shuffle=True, seed=0):
        assert (x == IMAGES[y]).all()
        got[y] += 1
    assert (got == 1).all()


def test_sources_that_moved_along_are_found(path, parts, tmp_path):
    """A file that names them from the root, in a folder that is another by now."""
    join(path, *parts)
    moved = path.parent.rename(tmp_path / "moved")
    assert (read(HDF5Source(moved / "virtual.h5", ["image"])) == IMAGES).all()


def test_sources_are_looked_for_where_libhdf5_does(path, parts, monkeypatch):
    """It is told of a folder by the environment, in a process that starts with it."""
    inside = path.parent / "inside"
    inside.mkdir()
    for part in parts:
        part.rename(inside / part.name)
    join(path, *(part.name for part in parts))
    refused(path, r"part-\d\.h5' is missing")
    code = "import sys, penstock as ps; print(ps.from_hdf5(sys.argv[1], x='image')[:][0].sum())"
    for prefix in (str(inside), "${ORIGIN}/inside"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "HDF5_VDS_PREFIX": prefix},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == f"{IMAGES.sum()}\n", done.stderr

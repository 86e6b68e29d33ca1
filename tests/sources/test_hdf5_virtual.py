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

import headrace as hr
from headrace.errors import ChangedFileError, DataError, MissingFileError, ShapeError
from headrace.sources import empty_arrays, run_reads
from headrace.sources.hdf5 import HDF5Source
from tests.files import create, gzip, images, write

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
    refused(path, r"part-1\.h5' is missing", "fill values", "Restore")


def test_a_missing_dataset_in_a_source_is_an_error(path, parts):
    join(path, *(part.name for part in parts))
    write(parts[1], picture=IMAGES)
    refused(path, r"no field 'image' in .*part-1\.h5'", "holds: picture")


def test_a_source_that_is_too_small_is_an_error(path, parts):
    join(path, *(part.name for part in parts))
    write(parts[1], image=IMAGES[:19])
    refused(
        path,
        r"part-1\.h5' has shape \(19, 4, 4, 3\)",
        r"up to \(20, 4, 4, 3\)",
        "fill values beyond",
    )


def test_a_source_that_is_no_hdf5_is_an_error(path, parts):
    join(path, *(part.name for part in parts))
    parts[0].write_text("a,b\n1,2\n")
    refused(path, r"part-0\.h5' is not an HDF5 file", "CSV")


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


def test_sources_that_multiply_are_refused(path):
    """libhdf5 goes every way from the dataset to the data: here, two to the power of 25."""
    with h5py.File(path, "w") as file:
        file["x0"] = np.arange(8)
        for k in range(25):
            layout = h5py.VirtualLayout((8,), "i8")
            layout[:4] = h5py.VirtualSource(".", f"x{k}", (8,))[:4]
            layout[4:] = h5py.VirtualSource(".", f"x{k}", (8,))[4:]
            file.create_virtual_dataset(f"x{k + 1}" if k < 24 else "image", layout)
    refused(path, "67108862 paths", "Expected at most 1048576", "Copy the data")


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
    assert source.read_paths()["image"].path == "direct rows"


def test_a_missing_number_is_an_error(path, parts):
    """libhdf5 takes it for the end."""
    numbered(path)
    write(parts[0].parent / "part-3.h5", image=IMAGES[:20])
    refused(path, r"part-2\.h5' is missing while", r"part-3\.h5' is there", "Restore")
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
    refused(path, r"part-1\.h5' has shape \(19, 4, 4, 3\)", "values from it|reads it up to")


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


def test_an_epoch_of_virtual_data(path, parts):
    join(path, *(part.name for part in parts))
    with h5py.File(path, "a") as file:
        file["id"] = np.arange(40)
    data = hr.from_hdf5(path, x="image", y="id")
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
    code = "import sys, headrace as hr; print(hr.from_hdf5(sys.argv[1], x='image')[:][0].sum())"
    for prefix in (str(inside), "${ORIGIN}/inside"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "HDF5_VDS_PREFIX": prefix},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == f"{IMAGES.sum()}\n", done.stderr

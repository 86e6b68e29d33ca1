"""Data in other files: refused, or followed when the user says so, and then all there."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import headrace as hr
from headrace.errors import ChangedFileError, DataError, FieldNotFoundError, MissingFileError
from headrace.sources import empty_arrays, run_reads
from headrace.sources.hdf5 import HDF5Source
from headrace.testing import SourceTests
from tests.bad_input.refusal import refused
from tests.files import create, gzip, images, write

IMAGES = images(40)
ROW = IMAGES[0].nbytes


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def elsewhere(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere"


@pytest.fixture
def path(folder):
    return folder / "main.h5"


def store(path, data, *pieces, name="image"):
    """Writes a dataset whose bytes lie in `(path, offset, size)`."""
    with h5py.File(path, "a") as file:
        pieces = [(str(where), offset, size) for where, offset, size in pieces]
        file.create_dataset(name, data=data, external=pieces)
    for where, _, _ in pieces:
        if Path(where).exists():
            os.utime(where, ns=(10**18, 10**18))
    return path


def read(source):
    out = empty_arrays(source.fields, source.length)
    run_reads(source.reads(np.arange(source.length), out))
    return out[source.fields[0].name]


def trusted(path, *names):
    return HDF5Source(path, names or ["image"], allow_external=True)


# External storage.

PIECES = {
    "one file": [("a", 0, IMAGES.nbytes)],
    "behind other bytes": [("a", 1000, IMAGES.nbytes)],
    "without an end": [("a", 8, h5py.h5f.UNLIMITED)],
    "whole rows each": [("a", 0, 10 * ROW), ("b", 7, 20 * ROW), ("c", 0, 10 * ROW)],
    "pieces that cut rows": [("a", 0, 100), ("b", 3, 1001), ("c", 0, 5), ("d", 0, 10**6)],
    "one file in pieces": [("a", 5000, 333), ("a", 0, 1000), ("a", 10000, 10**4)],
    "pieces without bytes": [("a", 0, IMAGES.nbytes), ("b", 0, 500)],
}


class TestExternalStorage(SourceTests):
    """By address, however many files there are."""

    @pytest.fixture(params=PIECES)
    def source(self, request, path, elsewhere):
        pieces = [(elsewhere / name, offset, size) for name, offset, size in PIECES[request.param]]
        return trusted(store(path, IMAGES, *pieces))

    @pytest.fixture
    def oracle(self):
        return {"image": IMAGES}

    def test_the_path_is_reported(self, source):
        found = source.read_paths()["image"]
        assert (found.path, found.reason) == (
            "direct rows",
            "uncompressed, in external storage",
        )


class TestExternalRecords(SourceTests):
    """Big-endian values, and members of compound ones."""

    @pytest.fixture
    def source(self, path, elsewhere, oracle):
        values = np.zeros(40, [("id", ">i4"), ("x", ">f8", (2,))])
        values["id"], values["x"] = oracle["t['id']"], oracle["t['x']"]
        store(path, values, (elsewhere / "a", 0, 99), (elsewhere / "b", 0, 10**6), name="t")
        store(path, oracle["y"].astype(">i8"), (elsewhere / "y", 0, 10**6), name="y")
        return trusted(path, "t['x']", "t['id']", "y")

    @pytest.fixture
    def oracle(self):
        x = np.random.default_rng(0).random((40, 2))
        return {"t['x']": x, "t['id']": np.arange(40, dtype="i4"), "y": np.arange(40)[::-1].copy()}


def test_external_storage_needs_trust(path, elsewhere):
    store(path, IMAGES, (elsewhere / "a", 0, IMAGES.nbytes))
    with refused(DataError, "'image'", "external storage", "allow_external=True if you trust"):
        hr.from_hdf5(path, x="image")
    (got,) = hr.from_hdf5(path, x="image", allow_external=True)[:]
    assert (got == IMAGES).all()
    assert (hr.open(path, x="image", allow_external=True)[:][0] == IMAGES).all()


def test_a_missing_external_file_is_an_error(path, elsewhere):
    store(path, IMAGES, (elsewhere / "a", 0, IMAGES.nbytes))
    (elsewhere / "a").unlink()
    with refused(DataError, "'image'", str(elsewhere / "a"), "missing", "HDF5_EXTFILE_PREFIX"):
        trusted(path)


@pytest.mark.parametrize("offset", [0, 100])
def test_an_external_file_that_is_too_short_is_an_error(path, elsewhere, offset):
    """libhdf5 reads zeros."""
    store(path, IMAGES, (elsewhere / "a", offset, IMAGES.nbytes))
    os.truncate(elsewhere / "a", offset + IMAGES.nbytes - 1)
    with refused(DataError, "'image'", f"only {offset + IMAGES.nbytes - 1} bytes", "zeros"):
        trusted(path)


@pytest.mark.parametrize("used_before", [False, True])
def test_an_external_file_that_changes_is_an_error(path, elsewhere, used_before):
    store(path, IMAGES, (elsewhere / "a", 0, 500), (elsewhere / "b", 0, 10**6))
    source = trusted(path)
    if used_before:
        read(source)
    with (elsewhere / "b").open("r+b") as file:
        file.write(b"other")
    with pytest.raises(ChangedFileError, match=r"'image' failed: '.*/b' was written to"):
        read(source)


def test_the_fingerprint_sees_external_files(path, elsewhere):
    store(path, IMAGES, (elsewhere / "a", 0, IMAGES.nbytes))
    before = trusted(path).fingerprint()
    (elsewhere / "a").write_bytes(IMAGES[::-1].tobytes())
    assert trusted(path).fingerprint() != before


def test_relative_names_are_those_of_the_folder_at_opening(path, elsewhere, monkeypatch):
    """As for libhdf5; from then on it may be left."""
    monkeypatch.chdir(elsewhere)
    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=IMAGES, external=[("raw", 0, IMAGES.nbytes)])
    source = trusted("../data/main.h5")
    monkeypatch.chdir("/")
    assert (read(source) == IMAGES).all()
    with refused(DataError, "'/raw'", "missing"):
        trusted(path)


def test_the_environment_may_name_the_folder(path, elsewhere, monkeypatch):
    with monkeypatch.context() as there, h5py.File(path, "w") as file:
        there.chdir(elsewhere)
        file.create_dataset("image", data=IMAGES, external=[("raw", 0, IMAGES.nbytes)])
    code = (
        "import os, sys, headrace as hr\n"
        "os.chdir('/')\n"
        "print(hr.from_hdf5(sys.argv[1], x='image', allow_external=True)[:][0].sum())"
    )
    for prefix in (str(elsewhere), "${ORIGIN}/../elsewhere"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "HDF5_EXTFILE_PREFIX": prefix},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == f"{IMAGES.sum()}\n", done.stderr


def test_types_that_only_libhdf5_reads_are_refused_there(path, elsewhere):
    """It would look for the files in the folder that is current by then."""

    def options(plist):
        plist.set_external(os.fsencode(elsewhere / "a"), 0, 40)

    with h5py.File(path, "w") as file:
        create(file, "bits", np.arange(40, dtype="u1"), options=options, dtype=h5py.h5t.STD_B8LE)
    with refused(DataError, "'bits'", "stored type is not NumPy's", "h5repack"):
        trusted(path, "bits")


# External links.


@pytest.fixture
def linked(path, elsewhere):
    """A file that links to datasets of every form in other files, and to a group of them."""
    write(
        elsewhere / "b.h5",
        **{
            "rows": IMAGES,
            "deep/gzip": gzip(IMAGES),
            "deep/slow": {"data": IMAGES, "scaleoffset": 0},
            "table": np.array([(k, k / 2) for k in range(40)], [("id", "i4"), ("x", "f4")]),
        },
    )
    write(path.parent / "c.h5", id=np.arange(40))
    with h5py.File(path, "w") as file:
        file["own"] = IMAGES[::-1]
        file["rows"] = h5py.ExternalLink(str(elsewhere / "b.h5"), "/rows")
        file["group"] = h5py.ExternalLink(str(elsewhere / "b.h5"), "deep")
        file["soft"] = h5py.SoftLink("/group/slow")
        file["all"] = h5py.ExternalLink("../elsewhere/b.h5", "/")
        file["table"] = h5py.ExternalLink("../elsewhere/b.h5", "/table")
        file["id"] = h5py.ExternalLink("c.h5", "id")
    return path


class TestExternalLinks(SourceTests):
    """What is linked takes its own path."""

    @pytest.fixture
    def source(self, linked):
        return trusted(
            linked, "rows", "own", "group/gzip", "soft", "all/rows", "table['x']", "all/table['id']"
        )

    @pytest.fixture
    def oracle(self):
        linked = dict.fromkeys(["group/gzip", "soft", "all/rows"], IMAGES)
        ids = np.arange(40, dtype="i4")
        own = IMAGES[::-1].copy()
        members = {"table['x']": ids.astype("f4") / 2, "all/table['id']": ids}
        return {"rows": IMAGES, "own": own, **linked, **members}

    def test_each_takes_its_own_path(self, source):
        found = {name: path.path for name, path in source.read_paths().items()}
        assert found["rows"] == found["table['x']"] == "direct rows"
        assert (found["group/gzip"], found["soft"]) == ("direct chunks", "h5py")


@pytest.mark.parametrize("name", ["rows", "group/gzip", "soft", "table['id']"])
def test_external_links_need_trust(linked, name):
    with refused(DataError, "a link into another file", "b.h5'", "allow_external=True if you tru"):
        hr.from_hdf5(linked, x=name)
    assert len(hr.from_hdf5(linked, x=name, y="id", allow_external=True)) == 40


def test_a_link_to_a_missing_file_names_it(linked, elsewhere):
    (elsewhere / "b.h5").unlink()
    with refused(MissingFileError, "'rows'", str(linked), "link into", str(elsewhere / "b.h5")):
        trusted(linked, "rows")


def test_a_link_to_what_is_not_there_says_what_is(linked, path, elsewhere):
    with refused(FieldNotFoundError, "'deep/gzap'", str(elsewhere / "b.h5"), "deep/gzip"):
        trusted(linked, "group/gzap")
    with refused(FieldNotFoundError, "'y' in 'table' of", str(elsewhere / "b.h5"), "id, x."):
        trusted(linked, "table['y']")


def test_links_from_file_to_file_end(folder):
    for k in range(30):
        with h5py.File(folder / f"{k}.h5", "w") as file:
            file["image"] = h5py.ExternalLink(f"{(k + 1) % 30}.h5", "image")
    with refused(DataError, "'image'", str(folder / "0.h5"), "more than 16 files"):
        trusted(folder / "0.h5")
    write(folder / "10.h5", image=IMAGES)
    assert (read(trusted(folder / "0.h5")) == IMAGES).all()


def test_a_linked_file_that_changes_is_an_error(linked, elsewhere):
    source = trusted(linked, "rows")
    os.utime(elsewhere / "b.h5", ns=(10**18, 10**18))
    with pytest.raises(ChangedFileError, match=r"b\.h5' was written to"):
        read(source)


def test_linked_files_that_moved_along_are_found(linked, elsewhere, tmp_path):
    """A link from the root, in a folder that is another by now."""
    moved = tmp_path / "moved"
    moved.mkdir()
    linked.rename(moved / "main.h5")
    (elsewhere / "b.h5").rename(moved / "b.h5")
    assert (read(trusted(moved / "main.h5", "rows")) == IMAGES).all()


# Sources of virtual datasets.


def join(path, *sources):
    layout = h5py.VirtualLayout((20 * len(sources), 4, 4, 3), "u1")
    for k, source in enumerate(sources):
        layout[k * 20 : k * 20 + 20] = h5py.VirtualSource(str(source), "image", (20, 4, 4, 3))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("image", layout)
    return path


def test_sources_outside_the_folder_need_trust(path, elsewhere):
    for k in range(2):
        write(elsewhere / f"{k}.h5", image=IMAGES[k * 20 :][:20])
    join(path, elsewhere / "0.h5", "../elsewhere/1.h5")
    with refused(DataError, "outside the folder", "allow_external=True if you trust it"):
        HDF5Source(path, ["image"])
    source = trusted(path)
    assert (read(source) == IMAGES).all()
    assert source.read_paths()["image"].path == "direct rows"
    (elsewhere / "1.h5").unlink()
    with refused(DataError, "1.h5' is missing", "fill values"):
        trusted(path)


def test_sources_may_themselves_keep_data_elsewhere(path, folder, elsewhere):
    """One in external storage, one behind a link."""
    store(folder / "0.h5", IMAGES[:20], (elsewhere / "raw", 0, 10**6))
    write(elsewhere / "b.h5", image=gzip(IMAGES[20:]))
    with h5py.File(folder / "1.h5", "w") as file:
        file["image"] = h5py.ExternalLink(str(elsewhere / "b.h5"), "image")
    source = trusted(join(path, "0.h5", "1.h5"))
    assert (read(source) == IMAGES).all()
    assert source.read_paths()["image"].path == "direct chunks"
    os.truncate(elsewhere / "raw", 100)
    with refused(DataError, "'image'", "one of its sources cannot be used", "has only 100 bytes"):
        trusted(path)


def test_a_source_elsewhere_that_libhdf5_reads_is_watched(path, folder, elsewhere):
    """Also behind a mapping that only it understands."""
    store(folder / "0.h5", IMAGES[:20], (elsewhere / "raw", 0, 10**6))
    layout = h5py.VirtualLayout((10, 4, 4, 3), "u1")
    layout[:] = h5py.VirtualSource("0.h5", "image", (20, 4, 4, 3))[::2]
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("image", layout)
    source = trusted(path)
    assert (read(source) == IMAGES[:20:2]).all()
    assert source.read_paths()["image"].path == "h5py"
    with (elsewhere / "raw").open("r+b") as file:
        file.write(b"other")
    with pytest.raises(ChangedFileError, match=r"/raw' of the virtual dataset was"):
        read(source)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_trust_is_true_or_false(path, value):
    with refused(hr.errors.OptionError, "allow_external", repr(value)):
        hr.from_hdf5(path, x="image", allow_external=value)

"""Paths at which there is no readable HDF5 file: each has its own error, and says a way out."""

import gzip
import io
import json
import os
import pickle
import stat
import subprocess
import sys
import tarfile

import h5py
import numpy as np
import pytest

import headrace as hr
from headrace.errors import (
    FileFormatError,
    LockedFileError,
    MissingFileError,
    NoPermissionError,
    OptionError,
)
from tests.bad_input.refusal import IMAGES, refused
from tests.files import as_nobody, write

# Paths at which there is no HDF5 file.


def test_a_missing_file_is_named_with_the_near_ones(cats, tmp_path):
    with refused(MissingFileError, str(tmp_path / "cat.h5"), "Did you mean 'cats.h5'?"):
        hr.from_hdf5(tmp_path / "cat.h5", x="image")


def test_a_missing_folder_is_named(tmp_path):
    with refused(MissingFileError, "no folder", str(tmp_path / "nowhere")):
        hr.from_hdf5(tmp_path / "nowhere" / "cats.h5")


def test_a_path_into_a_file_says_how_to_name_a_dataset(cats):
    with refused(MissingFileError, f"{str(cats)!r} is a file", "x="):
        hr.from_hdf5(cats / "image")


def test_a_url_says_to_download_it():
    with refused(MissingFileError, "https://example.org/cats.h5", "download it first"):
        hr.from_hdf5("https://example.org/cats.h5")


def test_a_pattern_without_files_says_what_is_there(cats, tmp_path):
    with refused(MissingFileError, "No file matches", "dog*.h5", "holds: cats.h5."):
        hr.from_hdf5(tmp_path / "dog*.h5")


def test_a_link_to_nothing_is_missing(tmp_path):
    (tmp_path / "link.h5").symlink_to(tmp_path / "gone.h5")
    with refused(MissingFileError, "gone.h5"):
        hr.from_hdf5(tmp_path / "link.h5")


def test_a_folder_is_no_file(cats, tmp_path):
    with refused(FileFormatError, f"{str(tmp_path)!r} is a folder", "It holds: cats.h5."):
        hr.from_hdf5(tmp_path)


@pytest.mark.parametrize("path", [None, 5, "", "a\0b", {"a.h5"}, ["a.h5"]])
def test_what_is_no_path_is_refused(path):
    with refused(OptionError, "Expected the path of an HDF5 file", f"Received: {path!r}"):
        hr.from_hdf5([path], x="image")


def test_no_path_is_refused():
    with refused(OptionError, "at least one path"):
        hr.from_hdf5([], x="image")


def test_an_open_file_says_to_give_its_path(cats):
    with h5py.File(cats, "r") as file:
        for received in (file, file["meta"], file["image"]):
            with refused(OptionError, "an open <HDF5", "file.filename"):
                hr.from_hdf5(received, x="image")


def test_bytes_are_a_path_too(cats):
    assert len(hr.from_hdf5(os.fsencode(cats), x="image")) == 50


def npz():
    made = io.BytesIO()
    np.savez(made, IMAGES)
    return made.getvalue()


def npy():
    made = io.BytesIO()
    np.save(made, IMAGES)
    return made.getvalue()


def tar():
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return made.getvalue()


CONTENT = {
    "an empty file": b"",
    "only zeros; its download": bytes(5000),
    "CSV text that starts with 'id,name'": b"id,name\n1 Tom\n",
    "CSV text that starts with 'id;age'": b"\xef\xbb\xbfid;age\n1 2\n",
    "text that starts with 'Dear all'": b"Dear all\nhere is the data\n",
    "a ZIP archive (.npz": npz(),
    "gzip data; decompress it first": gzip.compress(b"data"),
    "a tar archive; unpack it first": tar(),
    "a PNG image": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "a JPEG image": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "a Python pickle": pickle.dumps({"x": 1}, protocol=2),
    "a Python pickle ": pickle.dumps({"x": IMAGES}),
    "JSON text": json.dumps({"a": 1}).encode(),
    "a web page; the download may have failed": b"\n\n  <!DOCTYPE html>\n<html>",
    "a web page; the download": b"<HTML><body>404",
    "XML text": b'<?xml version="1.0"?><Error/>',
    "a Git LFS pointer; run 'git lfs pull'": b"version https://git-lfs.github.com/spec/v1\n",
    "a MATLAB file older than version 7.3": b"MATLAB 5.0 MAT-file, Platform: GLNXA64",
    "an HDF4 file; convert it": b"\x0e\x03\x13\x01\0\0",
    "unknown binary data that starts with b'\\xfe\\xed": b"\xfe\xed\xfa\xce\x07\x80\x81\x82" * 9,
    "text that starts with 'ääää": ("ä" * 400).encode(),
}


@pytest.mark.parametrize("looks", CONTENT)
def test_a_file_of_another_format_says_what_it_looks_like(path, looks):
    path.write_bytes(CONTENT[looks])
    with refused(FileFormatError, str(path), "not an HDF5 file: it looks like", looks.strip()):
        hr.from_hdf5(path, x="image")
    with refused(FileFormatError, looks.strip()):
        hr.open(path)


def test_a_file_of_numpy_is_no_hdf5_file_and_can_be_opened(path):
    path.write_bytes(npy())
    with refused(FileFormatError, str(path), "not an HDF5 file: it looks like a NumPy .npy file"):
        hr.from_hdf5(path, x="image")
    assert (hr.open(path)[:][0] == np.load(io.BytesIO(npy()))).all()


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with refused(FileFormatError, "a device or a pipe"):
        hr.from_hdf5(tmp_path / "pipe")


def test_a_truncated_file_says_so(cats):
    os.truncate(cats, 3000)
    with refused(FileFormatError, str(cats), "truncated: it has 3000 bytes", "download it again"):
        hr.from_hdf5(cats, x="image")


def test_a_damaged_header_says_so(cats):
    with cats.open("r+b") as file:
        file.seek(8)
        file.write(b"\xff" * 30)
    with refused(FileFormatError, str(cats), "damaged", "libhdf5 says"):
        hr.from_hdf5(cats, x="image")


# Files that may not be opened now.


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no user numbers")
def test_a_file_without_permission_says_so(open_folder):
    cats = write(open_folder / "cats.h5", image=IMAGES)
    hr.from_hdf5(cats, x="image")
    cats.chmod(stat.S_IWUSR)
    with as_nobody(), refused(NoPermissionError, "No permission", str(cats), "Ask its owner"):
        hr.from_hdf5(cats, x="image")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no user numbers")
def test_a_folder_without_permission_says_so(open_folder):
    cats = write(open_folder / "cats.h5", image=IMAGES)
    open_folder.chmod(0)
    try:
        with as_nobody(), refused(NoPermissionError, "No permission", str(cats)):
            hr.from_hdf5(cats, x="image")
    finally:
        open_folder.chmod(0o755)


WRITER = """
import sys, h5py
with h5py.File(sys.argv[1], "r+") as file:
    print("open", flush=True)
    sys.stdin.read()
"""

WITHOUT_LOCKS = """
import sys
import headrace as hr
print(len(hr.from_hdf5(sys.argv[1], x="image")))
"""


def test_a_file_that_another_process_writes_is_locked(cats):
    """And what the message says to do works."""
    command = [sys.executable, "-c", WRITER, str(cats)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"open\n"
        with refused(LockedFileError, str(cats), "another process", "HDF5_USE_FILE_LOCKING=FALSE"):
            hr.from_hdf5(cats, x="image")
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_LOCKS, str(cats)],
            env={**os.environ, "HDF5_USE_FILE_LOCKING": "FALSE"},
            capture_output=True,
            check=True,
        )
        assert done.stdout == b"50\n"
        writer.communicate()
    assert len(hr.from_hdf5(cats, x="image")) == 50


def test_a_file_that_this_process_writes_is_refused(cats):
    """The writer may hold back data that are not in the file yet."""
    with (
        h5py.File(cats, "r+"),
        refused(LockedFileError, str(cats), "open for writing in this process", "Close it"),
    ):
        hr.from_hdf5(cats, x="image")
    assert len(hr.from_hdf5(cats, x="image")) == 50


CRASH = """
import os, sys, h5py
file = h5py.File(sys.argv[1], "w", libver="latest")
file["image"] = range(50)
file.flush()
os._exit(0)
"""


def test_a_file_whose_writer_died_says_so(path):
    subprocess.run([sys.executable, "-c", CRASH, str(path)], check=True)
    with refused(LockedFileError, str(path), "marked as open for writing", "h5clear"):
        hr.from_hdf5(path, x="image")

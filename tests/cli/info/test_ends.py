"""How `headrace info` ends: exit codes that a script can trust, and one line for an error."""

import json
import os
import struct

import h5py
import numpy as np
import pytest

from tests.cli.info.helpers import named
from tests.files import damage, gzip, images, overwrite, write


@pytest.mark.parametrize("content", [None, b"", b"%PDF-1.7\n", bytes(5000)])
def test_what_is_no_hdf5_file_is_exit_code_2(headrace, path, content):
    """One line on stderr says what it is instead."""
    if content is not None:
        path.write_bytes(content)
    code, out, err = headrace("info", path, "--json")
    assert (code, out) == (2, "")
    assert err.startswith("headrace: error: ")
    assert err.count("\n") == 1


def test_a_truncated_file_is_exit_code_2(headrace, file):
    os.truncate(file, file.stat().st_size // 2)
    code, out, err = headrace("info", file)
    assert (code, out) == (2, "")
    assert "truncated" in err


def test_a_damaged_dataset_is_exit_code_2_after_the_others_are_shown(headrace, path):
    write(path, image=gzip(images()), label=np.arange(50))
    content = path.read_bytes()
    key = struct.pack("<5Q", 24, 0, 0, 0, 0)
    overwrite(path, content.index(key), (16).to_bytes(8, "little"))
    code, out, err = headrace("info", path)
    assert code == 2
    assert "label" in out
    assert "The index of the chunks is damaged: chunks overlap" in out
    assert err.startswith("headrace: error: ")
    assert "'image'" in err
    code, out, _ = headrace("info", path, "--json")
    assert code == 2
    found = named(json.loads(out))
    assert found["image"]["damaged"]
    assert not found["label"]["damaged"]


def test_a_dataset_with_a_damaged_index_of_chunks_is_one(headrace, path):
    """Though libhdf5 cannot say what it is: h5py opens it as a dataset."""
    with h5py.File(path, "w", libver="earliest") as file:
        file.create_dataset("good", data=np.arange(100), chunks=(10,))
        file.create_dataset("bad", data=np.arange(100), chunks=(10,))
    content = path.read_bytes()
    overwrite(path, content.rindex(b"TREE\x01"), b"XXXX")
    code, out, err = headrace("info", path, "--json")
    found = named(json.loads(out))
    assert code == 2
    assert "'bad'" in err
    assert (found["bad"]["kind"], found["bad"]["damaged"]) == ("dataset", True)
    assert (found["good"]["kind"], found["good"]["damaged"]) == ("dataset", False)
    assert "named type" not in headrace("info", path)[1]


def test_a_dataset_whose_beginning_nobody_can_read_is_exit_code_2(headrace, path):
    """Though its index is fine."""
    write(path, image=gzip(images()), label=np.arange(50))
    for number in range(4):
        damage(path, "image", number)
    code, out, err = headrace("info", path)
    assert code == 2
    assert "it is damaged: its first chunks are damaged" in out
    assert "its first chunks are damaged" in err


def test_damage_that_is_met_on_the_way_is_exit_code_2(headrace, path):
    """In labels that are looked through for their order."""
    write(path, label=gzip(np.arange(500) % 10, 50))
    damage(path, "label", 7)
    code, out, err = headrace("info", path)
    assert code == 2
    assert "1. label: damaged" in out
    assert "Rows 350 to 399 of 'label'" in err


def test_a_file_that_is_being_written_is_exit_code_1(headrace, file):
    with h5py.File(file, "r+"):
        code, out, err = headrace("info", file)
    assert (code, out) == (1, "")
    assert "open for writing" in err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--memory", "much"], "Received: 'much'"),
        (["--batch-size", "0"], "expected 1 or more"),
        (["--limit", "-1"], "expected 1 or more"),
    ],
)
def test_wrong_options_are_exit_code_2(headrace, file, arguments, words):
    code, out, err = headrace("info", file, *arguments)
    assert (code, out) == (2, "")
    assert words in err

"""`headrace pack` and `headrace verify`: what they write, print and return."""

import json

import h5py
import numpy as np
import pytest

import headrace as hr
from tests.cli.conftest import command


def test_all_fields_are_packed(headrace, tmp_path):
    """Where none are named; the summary says how to go on."""
    np.savez(tmp_path / "in.npz", image=np.zeros((100, 8), "u1"), label=np.arange(100))
    out = tmp_path / "out.h5"
    code, text, errors = headrace("pack", tmp_path / "in.npz", out)
    assert (code, errors) == (0, "")
    assert f"{out}: 100 samples" in text
    assert f"hr.open({str(out)!r})" in text
    with h5py.File(out) as file:
        assert {name: file[name].shape for name in file} == {"image": (100, 8), "label": (100,)}


def test_fields_rows_and_form_are_chosen(headrace, file, tmp_path):
    """x, y, rows, compression, chunk, dtype, order, shards."""
    out = tmp_path / "out"
    options = "--x image --y label --start 10 --end 310 --compression gzip --chunk 640 --level 1"
    more = "--dtype label=int32 --shuffle --seed 3 --shard-size 8kB --memory 3MB --workers 2"
    code, text, _ = headrace("pack", file, out, *options.split(), *more.split(), "--json")
    assert code == 0
    summary = json.loads(text)
    assert summary["rows"] == 300
    assert summary["files"] == len(list(out.glob("*.h5"))) > 1
    assert summary["fields"]["label"] == {"shape": [], "dtype": "int32"}
    assert summary["bytes"] == sum(path.stat().st_size for path in out.iterdir())
    data = hr.open(out)
    original = hr.from_hdf5(file, x="image", y="label", start=10, end=310)
    order = hr.from_arrays(np.arange(300)).batch(300, shuffle="exact", seed=3)
    ((rows,),) = list(order)
    assert np.array_equal(data[:][0], original[:][0][rows])
    assert np.array_equal(data[:][1], original[:][1][rows])
    with h5py.File(out / "shard-00000.h5") as first:
        assert first["image"].chunks == (10, 8, 8)
        assert first["image"].compression_opts == 1


def test_fields_are_kept_that_are_no_part(headrace, file, tmp_path):
    """They need to be said to be none, and map functions do not know them."""
    out = tmp_path / "out.h5"
    words = ("pack", file, out, "--keep", "weight,target", "--keep", "vector")
    code, _, error = headrace(*words)
    assert (code, out.exists()) == (2, False)
    assert "--keep requires --x" in error
    code, text, _ = headrace(*words, "--x", "image", "--y", "label", "--json")
    assert code == 0
    assert json.loads(text)["fields"].keys() == {"image", "label", "weight", "target", "vector"}
    assert hr.open(out).spec.parts == ("image", "label")
    assert len(hr.open(out, "vector")[:][0]) == 400


def test_several_inputs_follow_each_other(headrace, file, tmp_path):
    """Also what was packed before, whose structure is known."""
    assert headrace("pack", file, tmp_path / "a.h5", "--x", "image", "--y", "label")[0] == 0
    code, _, _ = headrace("pack", tmp_path / "a.h5", file, tmp_path / "b.h5", "--quiet")
    assert code == 0
    data = hr.open(tmp_path / "b.h5")
    assert (len(data), data.spec.x, data.spec.y) == (800, "image", "label")


def test_a_function_is_applied(headrace, file, tmp_path):
    """As by `data.map`."""
    (tmp_path / "mine.py").write_text("def half(x, y):\n    return x / 2, y\n")
    options = ["--x", "image", "--y", "label", "--map", f"{tmp_path}/mine.py:half"]
    code, _, errors = headrace("pack", file, tmp_path / "out.h5", *options, "--dtype", "float32")
    assert code == 0, errors
    x, _ = hr.open(tmp_path / "out.h5")[:]
    assert x.dtype == "f4"
    assert np.array_equal(x, hr.from_hdf5(file, "image")[:][0] / 2)


@pytest.mark.parametrize(
    "options, part",
    [
        (["--dtype", "u1", "--dtype", "f4"], "--dtype"),
        (["--dtype", "image=int7"], "dtype"),
        (["--compression", "rar"], "gzip"),
        (["--resume"], "shard-size"),
        (["--memory", "much"], "much"),
        (["--x", "imag"], "image"),
    ],
)
def test_wrong_use_is_one_line_and_2(headrace, file, tmp_path, options, part):
    """And nothing is written."""
    fields = [] if "--x" in options else ["--x", "image", "--y", "label"]
    code, text, errors = headrace("pack", file, tmp_path / "out.h5", *fields, *options)
    assert (code, text) == (2, "")
    assert part in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "out.h5").exists()


def test_a_value_that_a_dtype_cannot_hold_is_2(headrace, file, tmp_path):
    """Unless loss is allowed."""
    out = tmp_path / "out.h5"
    code, _, errors = headrace("pack", file, out, "--x", "target", "--dtype", "uint8")
    assert code == 2
    assert "Row 0: 'target' holds" in errors
    assert "--allow-loss" in errors
    assert headrace("pack", file, out, "--x", "target", "--dtype", "uint8", "--allow-loss")[0] == 0


def test_what_is_there_stays(headrace, file, tmp_path):
    """Unless it is to be overwritten."""
    out = tmp_path / "out.h5"
    out.write_text("old")
    code, _, errors = headrace("pack", file, out, "--x", "image")
    assert code == 2
    assert "--overwrite" in errors
    assert out.read_text() == "old"
    assert headrace("pack", file, out, "--x", "image", "--overwrite")[0] == 0


def test_a_pipe_gets_no_bar(process, file, tmp_path):
    """The installed command, in a process of its own."""
    done = process("pack", file, tmp_path / "out.h5", "--x", "image", "--y", "label")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith(f"{tmp_path / 'out.h5'}: 400 samples\n")


def test_verify_says_what_is_broken(headrace, file, tmp_path):
    """0 and a list, or 1, the list, and the first thing on stderr."""
    out = tmp_path / "out.h5"
    headrace("pack", file, out, "--x", "image", "--y", "label")
    code, text, errors = headrace("verify", out)
    assert (code, errors) == (0, "")
    assert "ok      image: 400 rows, CRC-32 as noted" in text
    with h5py.File(out, "a") as packed:
        packed["label"][5] += 1
    code, text, errors = headrace("verify", out)
    assert code == 1
    assert "broken  label: rows 0 to 399 are not what was written" in text
    assert errors.startswith("headrace: error: ")
    code, text, _ = headrace("verify", out, "--json")
    assert code == 1
    assert json.loads(text)["ok"] is False
    assert headrace("verify", out, "--quiet")[:2] == (1, "")
    assert headrace("verify", tmp_path / "missing.h5")[0] == 2


@pytest.mark.parametrize("name", ["pack", "verify"])
def test_help_tells_what_it_does(process, name):
    """With the exit codes or examples."""
    done = process(name, "--help")
    assert done.returncode == 0
    assert "checksums" in done.stdout or "examples:" in done.stdout
    assert command()


def test_a_function_that_was_edited_is_not_resumed_with(headrace, file, tmp_path):
    """Unless the user says that it does the same."""
    program = tmp_path / "own.py"
    words = ("pack", file, tmp_path / "out", "--x", "image", "--shard-size", "1kB", "--quiet")
    words += ("--map", f"{program}:fn")

    def write(last, factor):
        # Fails at the last rows, once shards are there.
        program.write_text(
            "import numpy as np\n"
            "def fn(x):\n"
            f"    if {last} and len(x) == 388 % 15:\n"
            "        raise ValueError('stopped')\n"
            f"    return x * np.uint8({factor})\n"
        )

    write(last=True, factor=2)
    code, _, error = headrace(*words, "--map-version", "1", "--end", "388")
    assert (code, "stopped" in error) == (1, True)
    write(last=False, factor=3)
    code, _, error = headrace(*words, "--end", "388", "--resume")
    assert (code, "other map functions" in error) == (1, True)
    assert headrace(*words, "--map-version", "1", "--end", "388", "--resume")[0] == 0

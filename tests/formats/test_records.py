"""The example of a format in the documents: the contract of sources, and every command."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import headrace as hr
from headrace import formats
from headrace.cli import main
from headrace.errors import FieldNotFoundError, FileFormatError, OptionError, UnknownOptionError
from headrace.testing import SourceTests
from tests.bad_input.refusal import refused

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "records.py"


def load_example():
    """The example as a module that other processes can import as well, by its name."""
    spec = importlib.util.spec_from_file_location("records", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["records"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def records():
    known = list(formats.FORMATS)
    sys.path.insert(0, str(EXAMPLE.parent))
    yield load_example()
    sys.path.remove(str(EXAMPLE.parent))
    formats.FORMATS[:] = known


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    label = np.arange(600) // 300
    image = rng.integers(0, 256, (600, 6, 5), np.uint8)
    image[label == 1] |= 128
    return {"image": image, "label": label, "score": rng.random(600).astype(">f4")}


@pytest.fixture(scope="module")
def file(records, arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("records") / "cats.rec"
    records.write_records(path, **arrays)
    return str(path)


class TestRecords(SourceTests):
    """The contract."""

    @pytest.fixture
    def oracle(self, arrays):
        return {name: array.astype(array.dtype.newbyteorder("=")) for name, array in arrays.items()}

    @pytest.fixture
    def source(self, file, oracle):
        return formats.open_location(file).source(list(oracle))


def test_the_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) < 150


def test_open_finds_out_the_format(file, arrays):
    """With names, with all columns, and several files as one."""
    x, y = hr.open(file, x="image", y="label")[:]
    assert (x == arrays["image"]).all()
    assert (y == arrays["label"]).all()
    assert hr.open(file, ...).spec.x == ("image", "label", "score")
    twice = hr.open([file, file], x="score", start=590, end=610)
    assert (twice[:][0] == np.concatenate([arrays["score"]] * 2)[590:610]).all()


def test_a_split_reads_other_columns(file, arrays):
    parts = hr.open(file, x="image").split(by="label")
    assert (parts[1][:][0] == arrays["image"][300:]).all()


def test_what_is_wrong_is_said(file, tmp_path):
    """No x, an unknown name, an option that there is not, and a file that was cut."""
    with refused(FieldNotFoundError, "Which column", "image, label, score"):
        hr.open(file)
    with refused(FieldNotFoundError, "no field 'lable'", "Did you mean 'label'"):
        hr.open(file, x="lable")
    with refused(UnknownOptionError, "records files have no option 'allow_external'"):
        hr.open(file, x="image", allow_external=True)
    cut = tmp_path / "cut.rec"
    cut.write_bytes(Path(file).read_bytes()[:-1])
    with refused(FileFormatError, "truncated"):
        hr.open(cut, x="image")


def test_a_file_that_no_format_recognises_is_described(tmp_path, records):
    (tmp_path / "a.zip").write_bytes(b"PK\3\4" + bytes(100))
    with refused(FileFormatError, "looks like a ZIP archive", "HDF5", "records"):
        hr.open(tmp_path / "a.zip")


def test_info_describes_its_columns(file, capsys):
    """Columns with their types, how they are read, advice, and how to go on."""
    assert main(["info", file, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["rows"], found["columns"]) == ("records", 600, 3)
    label = next(item for item in found["objects"] if item["name"] == "label")
    assert (label["type"], label["shape"], label["path"]) == ("number", [600], "records")
    assert [advice["kind"] for advice in found["advice"]] == ["sorted-rows"]
    data = eval(found["next"]["python"], {"hr": hr})
    assert (data.spec.x, data.spec.y) == ("image", "label")
    assert main(["info", file]) == 0
    text = capsys.readouterr().out
    assert "600 rows, 3 columns" in text
    assert "read   records: of one size" in text
    assert "a record is read by its place in the file" in text


def test_stats_counts_its_values(file, arrays, capsys):
    assert main(["stats", file, "--x", "image", "--y", "label", "--json"]) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["fields"]}
    assert found["image"]["mean"] == pytest.approx(arrays["image"].mean())
    assert [one["count"] for one in found["label"]["classes"]] == [300, 300]


def test_pack_and_verify_take_it(file, arrays, tmp_path, capsys):
    """What is packed is the same, and no input is written over."""
    out = str(tmp_path / "packed.h5")
    assert main(["pack", file, out, "--x", "image", "--y", "label", "--quiet"]) == 0
    x, y = hr.open(out)[:]
    assert (x == arrays["image"]).all()
    assert (y == arrays["label"]).all()
    assert main(["pack", file, file, "--overwrite", "--quiet"]) == 2
    assert "is read" in capsys.readouterr().err
    found = hr.verify(file)
    assert found.ok
    assert [line.split(":")[0] for line in found.checked] == ["image", "label", "score"]


def test_verify_finds_what_cannot_be_read(file, tmp_path):
    cut = tmp_path / "cut.rec"
    cut.write_bytes(Path(file).read_bytes()[:-1])
    found = hr.verify(cut)
    assert not found.ok
    assert "truncated" in found.problems[0]


def test_fit_learns_from_it(file, tmp_path, capsys):
    out = str(tmp_path / "model.keras")
    words = ["fit", file, "--x", "image", "--y", "label", "--epochs", "5", "--batch-size", "32"]
    assert main([*words, "--seed", "0", "--out", out, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["metrics"]["val_accuracy"] > 0.8
    assert keras.saving.load_model(out).count_params() > 0


def test_a_package_makes_its_format_known_to_the_command_line(file, tmp_path):
    """By an entry point, in a process that imports nothing of it by itself."""
    info = tmp_path / "records_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: records-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[headrace.formats]\nrecords = records:FORMAT\n")
    paths = [str(tmp_path), str(EXAMPLE.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "info", file],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "600 rows, 3 columns" in done.stdout


def test_what_is_no_format_is_not_registered():
    with refused(OptionError, "Expected an instance of headrace.formats.Format"):
        formats.register(formats.Format)

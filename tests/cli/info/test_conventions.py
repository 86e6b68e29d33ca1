"""Files of other programs are recognised, and the code that is printed for them reads them."""

import json
from random import Random

import h5py
import numpy as np
import pytest

import headrace as hr
from headrace.errors import FieldNotFoundError, ShapeError
from headrace.sources.hdf5.marks import VALUES
from tests.bad_input.refusal import refused
from tests.cli.info import layouts
from tests.cli.info.helpers import named, run_in_shell
from tests.files import images, write

LINES, COLUMNS = 75, 80


def samples_of(code):
    """Runs code, and gives x and y (None without one) of the samples that it reads."""
    names = {"hr": hr}
    exec(code, names)
    batches = [names["data"][:]] if "data" in names else list(names["loader"])
    parts = [np.concatenate(part) for part in zip(*batches, strict=True)]
    return parts[0], parts[1] if len(parts) > 1 else None


def in_order(x, y):
    """Samples, whatever their order."""
    x = np.ascontiguousarray(x)
    y = [0] * len(x) if y is None else y.tolist()
    return sorted((row.tobytes(), label) for row, label in zip(x, y, strict=True))


@pytest.mark.parametrize("layout", layouts.READ, ids=lambda layout: layout.__name__)
def test_printed_code_reads_the_samples(info, path, layout):
    """All of them, once each, with their labels; and nothing else is offered."""
    kind, x, y = layout(path)
    document = info(path)
    [one] = [one for one in document["advice"] if one["kind"] == kind]
    code, offered = one["command"], document["next"]
    if code is None:
        code, offered = f"data = {offered['python']}", None
    assert offered is None
    found_x, found_y = samples_of(code)
    assert (found_y is None) == (y is None)
    assert found_x.shape == x.shape
    assert in_order(found_x.astype(x.dtype), found_y) == in_order(x, y)
    for other in document["advice"]:
        assert other is one or (other["kind"], other["language"]) == ("samples-apart", "shell")


@pytest.mark.parametrize("layout", layouts.READ, ids=lambda layout: layout.__name__)
def test_a_page_fits_a_screen(headrace, monkeypatch, path, layout):
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    layout(path)
    code, out, _ = headrace("info", path)
    lines = out.splitlines()
    assert code == 0
    assert max(map(len, lines)) <= COLUMNS
    assert len(lines) <= LINES


@pytest.mark.parametrize(
    "layout",
    [
        layouts.labels_in_attributes,
        layouts.texts_in_attributes,
        layouts.groups_of_one_dataset,
        layouts.a_folder_each_class,
    ],
    ids=lambda layout: layout.__name__,
)
def test_joining_datasets_keeps_their_labels(all_advice, info, path, layout):
    """The file that the command writes is one that x and y are known of."""
    _, x, y = layout(path)
    [join] = [one for one in all_advice(path) if one["language"] == "shell"]
    made = run_in_shell(join["command"])
    found_x, found_y = samples_of(f"data = {info(made)['next']['python']}")
    assert in_order(found_x, found_y) == in_order(x, y)


def test_groups_of_rows_are_batches(advice, path):
    """As demonstrations of a robot: each has as many rows as it took."""
    with h5py.File(path, "w") as file:
        for i in range(5):
            file[f"data/demo_{i}/obs/view"] = images(4 + i)
            file[f"data/demo_{i}/actions"] = np.full((4 + i, 7), i, "f4")
        file["mask/train"] = np.arange(4)
    one = advice(path)["samples-in-groups"]
    assert one["datasets"] == ["data"]
    names = {"hr": hr}
    exec(one["command"], names)
    batches = [x for (x,) in names["loader"]]
    assert sorted(len(x["actions"]) for x in batches) == [4, 5, 6, 7, 8]
    for x in batches:
        assert x["obs/view"].shape == (len(x["actions"]), 4, 4, 3)
        assert (x["actions"] == len(x["actions"]) - 4).all()


def test_samples_of_several_shapes_come_one_by_one(advice, path):
    """No batch holds two of them, and the advice says so."""
    with h5py.File(path, "w") as file:
        for i in range(30):
            file[f"s{i}/image"] = images(1, (3 + i % 2, 4))[0]
            file[f"s{i}/label"] = i
    one = advice(path)["samples-in-groups"]
    assert "Their shapes differ" in one["text"]
    names = {"hr": hr}
    exec(one["command"], names)
    assert {x.shape for x, _ in names["loader"]} == {(1, 3, 4), (1, 4, 4)}


def test_attributes_that_may_be_labels_are_named(advice, path):
    """As of seismograms: only a person knows which it is."""
    with h5py.File(path, "w") as file:
        for i in range(30):
            file[f"data/trace_{i}"] = images(1)[0]
            file[f"data/trace_{i}"].attrs["trace_category"] = "noise"
    text = advice(path)["samples-in-datasets"]["text"]
    assert "Their attributes, such as trace_category, may hold labels:" in text


def weights(path, names, **marks):
    with h5py.File(path, "w") as file:
        for i, name in enumerate(names):
            file[name] = np.zeros((3, 4) if i % 2 else 4, "f4")
        for name, value in marks.items():
            file.attrs[name] = value


@pytest.mark.parametrize(
    "names, marks",
    [
        (["layers/dense/vars/0", "layers/dense/vars/1", "optimizer/vars/0"], {}),
        (["_layer_checkpoint_dependencies/dense/vars/0"], {}),
        (["dense/dense/kernel:0", "dense/dense/x"], {"layer_names": [b"dense"], "backend": "jax"}),
        (["model_weights/a/kernel", "model_weights/a/x"], {"model_config": "{}"}),
        (["conv1.weight", "fc/bias", "bn.running_mean"], {}),
    ],
    ids=["Keras 3", "Keras 3.0", "weights of Keras 2", "a model of Keras 2", "PyTorch"],
)
def test_weights_are_no_samples(info, path, names, marks):
    weights(path, ["first/bias" if "conv1.weight" in names else names[0] + "0", *names], **marks)
    document = info(path)
    assert [one["kind"] for one in document["advice"]] == ["model-weights"]
    assert document["advice"][0]["command"] is None
    assert document["next"] is None


def test_a_matrix_called_as_weights_are_beside_samples_is_none(info, path):
    """Samples may have a weight."""
    write(path, image=images(20), label=np.arange(20), weight=np.ones(20))
    assert info(path)["next"]["sample_weight"] == "weight"


def test_an_index_of_a_table_is_no_data(info, headrace, path):
    """Neither is anything advised on it, nor is it shown in parts, nor listed in errors."""
    layouts.pandas_table(path)
    document = info(path)
    assert [one["kind"] for one in document["advice"]] == ["table"]
    assert named(document)["df/_i_table"]["content"] == "an index of PyTables"
    assert not named(document)["df/_i_table/label/indicesLR"]["field"]
    assert "indicesLR" not in headrace("info", path)[1]
    with refused(FieldNotFoundError, "It holds: df/table."):
        hr.from_hdf5(path, x="table")


@pytest.mark.parametrize("head", [b"fLaC", b"RIFF\0\0\0\0WAVE", b"\x80\x04", b"\x93NUMPY"], ids=str)
def test_other_files_in_a_dataset_are_named_without_code(info, path, head):
    """Padding their bytes would be nonsense."""
    with h5py.File(path, "w") as file:
        rows = [np.frombuffer(head + bytes(10 + i), "u1") for i in range(5)]
        layouts.put_ragged(file, "sounds", "u1", rows)
        file["label"] = np.arange(5)
    document = info(path)
    [one] = document["advice"]
    assert (one["kind"], one["command"], document["next"]) == ("ragged-samples", None, None)
    assert "from_sequence" in one["text"]


def test_files_without_an_array_of_samples_say_so(info, path):
    """MATLAB's cells, a data frame of objects alone, an AnnData file without X."""
    with h5py.File(path, "w") as file:
        cells = file.create_dataset("c", (3, 1), h5py.ref_dtype)
        layouts.marked(cells, MATLAB_class="cell")
    assert "instead of in cells" in info(path)["advice"][0]["text"]
    with h5py.File(path, "w") as file:
        layouts.marked(file.create_group("df"), pandas_type="frame")
        file["df/axis1"] = np.arange(5)
    assert "no block of numbers" in info(path)["advice"][0]["text"]
    with h5py.File(path, "w") as file:
        layouts.marked(file, **{"encoding-type": "anndata"})
        file["obs/n"] = np.arange(5)
    document = info(path)
    assert "without a matrix X" in document["advice"][0]["text"]
    assert document["next"] is None


@pytest.mark.parametrize(
    "names",
    [
        {"train/x": 50, "train/y": 50, "test/x": 20, "test/y": 20, "val/x": 10, "val/y": 10},
        {"left/x": 50, "left/y": 50, "right/x": 50, "right/y": 50},
        {f"feature_{i}": 50 for i in range(40)},
        {f"layer_{i}/x": 50 for i in range(2)},
        {**{f"layer_{i:02d}.x": 50 for i in range(12)}, "label": 50},
        {"a/data": 50, "a/indices": 40, "a/indptr": 11},
    ],
    ids=["parts", "two groups", "columns", "layers", "fields", "three arrays that are no matrix"],
)
def test_files_that_only_look_alike_are_left_alone(info, path, names):
    with h5py.File(path, "w") as file:
        for name, rows in names.items():
            data = images(rows) if name.endswith("x") else np.arange(rows)[::-1] % 7
            file[name] = data
    kinds = [one["kind"] for one in info(path)["advice"]]
    assert not {"samples-in-groups", "samples-in-datasets", "sparse-matrix"} & set(kinds)


@pytest.mark.parametrize("name", ["time", "id", "timestamps", "indices"])
def test_what_says_where_a_sample_is_from_is_no_target(info, path, name):
    """Unless it is asked for."""
    write(path, **{"signal": images(20), name: np.arange(20)})
    assert info(path)["next"]["y"] is None
    assert info(path)["next"]["shell"] is None


def test_axes_that_matlab_reversed_are_no_guess_of_from_hdf5(path):
    """Without x= there is an error that says what is wrong; with it, that is what is read."""
    layouts.matlab_without_target(path)
    with h5py.File(path, "a") as file:
        del file["#refs#"]
    with refused(FieldNotFoundError, "'X'", "MATLAB", "last axis", "headrace info"):
        hr.open(path)
    assert len(hr.open(path, x="X")) == 60


def test_fields_with_samples_on_their_last_axis_are_named_as_that(path):
    layouts.matlab_rows(path)
    with refused(ShapeError, "all have 200", "MATLAB", "headrace info"):
        hr.from_hdf5(path, x="X", y="Y")


def test_marks_that_cannot_be_read_are_no_marks(info, path):
    """Of odd types and sizes: the rest of the file is shown."""
    kinds = {"scale_factor": "text", "add_offset": np.zeros((2, 2)), "_FillValue": np.zeros(4000)}
    with h5py.File(path, "w") as file:
        file["x"] = images(20)
        layouts.marked(file["x"], **kinds, label=h5py.Empty("f4"), CLASS=file.ref)
        layouts.marked(file, **{"encoding-type": 3, "shape": np.zeros(0)})
    document = info(path)
    assert document["advice"] == []
    assert document["next"]["x"] == "x"


def test_many_objects_that_are_alike_are_shown_as_one(info, headrace, path):
    """And --json has them all."""
    layouts.a_group_each(path)
    assert headrace("info", path)[1].count("sample_") == 1
    objects = named(info(path))
    assert objects["sample_0007"]["alike"] == "sample_0000"
    assert objects["sample_0007/image"]["alike"] is None
    write(path, **{f"layer{i}": images(20) for i in range(5)})
    out = headrace("info", path)[1]
    assert all(f"layer{i}" in out for i in range(5))


def test_the_document_is_json(headrace, path):
    """Also with marks of NaN."""
    with h5py.File(path, "w") as file:
        file["x"] = images(20).astype("f4")
        layouts.marked(file["x"], _FillValue=np.float32("nan"), scale_factor=np.nan)
    assert json.loads(headrace("info", path, "--json")[1])["next"]["x"] == "x"


ODD = ["text", ["a", "b"], 3, -1, np.nan, np.arange(2), np.zeros(0), h5py.Empty("f4"), np.inf]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "layout",
    [layouts.anndata, layouts.matlab_sparse, layouts.pandas_table, layouts.netcdf],
    ids=lambda layout: layout.__name__,
)
def test_odd_values_of_marks_are_no_failure(headrace, path, layout, seed):
    """Files come from strangers: every mark of every object may say anything."""
    layout(path)
    random = Random(seed)
    with h5py.File(path, "a") as file:
        items = [file]
        file.visititems(lambda _, item: items.append(item))
        for item in items:
            for name in VALUES:
                item.attrs[name] = random.choice(ODD)
    code, _, err = headrace("info", path)
    assert (code, err) == (0, "")

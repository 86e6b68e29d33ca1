"""`headrace fit` from a file to a trained model and its summary."""

import json
import re

import h5py
import keras
import numpy as np
import pytest

import headrace as hr

IMAGES = ("--x", "image", "--y", "label", "--seed", "0", "--batch-size", "32")
VECTORS = ("--x", "vector", *IMAGES[2:])


@pytest.fixture
def fit(headrace, file):
    """Runs `headrace fit --json` on the file and gives the document."""

    def run(*arguments):
        code, out, err = headrace("fit", file, "--json", *arguments)
        assert code == 0
        assert "headrace:" not in err
        return json.loads(out)

    return run


@pytest.fixture
def own_model(tmp_path):
    """Writes a Python file with functions that build models."""
    path = tmp_path / "own.py"
    path.write_text(
        "import keras\n"
        "from neighbour import WIDTH\n"
        "print('imported')\n"
        "def build():\n"
        "    return sized(8, 4)\n"
        "def for_data(data):\n"
        "    return sized(data.spec['image'].shape[0], 4)\n"
        "def sized(side, classes, loss='sparse_categorical_crossentropy'):\n"
        "    model = keras.Sequential([\n"
        "        keras.Input((side, side)), keras.layers.Flatten(), keras.layers.Dense(WIDTH),\n"
        "        keras.layers.Dense(classes, activation='softmax')])\n"
        "    model.compile('adam', loss)\n"
        "    return model\n"
        "def uncompiled():\n"
        "    return keras.Sequential([keras.Input((8, 8)), keras.layers.Flatten()])\n"
        "def nothing():\n"
        "    pass\n"
        "def joined():\n"
        "    image, vector = keras.Input((8, 8)), keras.Input((64,))\n"
        "    both = keras.layers.Concatenate()([keras.layers.Flatten()(image), vector])\n"
        "    model = keras.Model([image, vector], keras.layers.Dense(1)(both))\n"
        "    model.compile('adam', 'mse')\n"
        "    return model\n"
    )
    (tmp_path / "neighbour.py").write_text("WIDTH = 5\n")
    return path


def test_trains_a_baseline_that_learns(fit):
    """Without --model, images and integer labels give a CNN that tells the classes apart."""
    summary = fit(*IMAGES, "--epochs", "8")
    assert summary["metrics"]["val_accuracy"] > 0.9
    assert summary["model"].startswith("baseline")


def test_the_summary_tells_what_was_done(fit):
    """Counts, sizes, memory, speed, paths and metrics, as a program needs them."""
    summary = fit(*IMAGES, "--epochs", "2", "--memory", "1MB")
    assert summary["samples"] == {"training": 360, "validation": 40}
    assert summary["decoded_bytes"] == {"training": 360 * 65, "validation": 40 * 65}
    assert (summary["epochs"], summary["batch_size"], summary["seed"]) == (2, 32, 0)
    assert summary["memory"]["budget"] == 1_000_000
    assert 0 < summary["memory"]["peak_loader"] <= 1_000_000
    assert summary["memory"]["peak_process"] > 10_000_000
    assert summary["samples_per_second"] > 0
    assert len(summary["epoch_seconds"]) == summary["epochs"]
    assert sum(summary["epoch_seconds"]) == pytest.approx(summary["seconds"])
    assert 0 <= summary["wait_share"] <= 1
    assert summary["paths"].keys() == {"image", "label"}
    assert all(path["path"] and path["reason"] for path in summary["paths"].values())
    assert summary["shuffle"]["mode"] == "exact"
    assert summary["metrics"].keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(len(values) == 2 for values in summary["history"].values())
    assert summary["saved"] is None
    assert summary["backend"] == keras.config.backend()


def test_the_same_seed_gives_the_same_loss(fit):
    """Split, order, weights and dropout are functions of --seed."""
    losses = [fit(*VECTORS)["metrics"]["val_loss"] for _ in range(2)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_drawn_seed_is_shown(fit):
    """A run without --seed can be repeated with the one that it shows."""
    summary = fit("--x", "vector", "--y", "label")
    again = fit("--x", "vector", "--y", "label", "--seed", str(summary["seed"]))
    assert again["metrics"]["loss"] == pytest.approx(summary["metrics"]["loss"], rel=1e-4)


def test_the_text_lines_up(headrace, file):
    """Without --json the summary is two columns, after Keras' own progress."""
    code, out, err = headrace("fit", file, *IMAGES)
    assert (code, err) == (0, "")
    assert "Epoch 1/1" not in out or out.index("Epoch 1/1") < out.index("samples")
    table = out[re.search(r"^samples  ", out, re.MULTILINE).start() :].splitlines()
    column = re.match(r"samples +", table[0]).end()
    assert all(line[column - 2 : column] == "  " and line[column] != " " for line in table)
    names = [line[:column].strip() for line in table]
    assert {"memory budget", "epochs took", "waited for data", "read path of image", "loss"} <= set(
        names
    )


def test_quiet_prints_nothing(headrace, file):
    """--quiet leaves errors and warnings alone."""
    assert headrace("fit", file, *VECTORS, "--quiet") == (0, "", "")


def test_saves_the_trained_model(fit, file, tmp_path):
    """--out gives a model that Keras loads and that predicts as well as the summary says."""
    out = tmp_path / "model.keras"
    out.write_bytes(b"an older model")
    summary = fit(*IMAGES, "--validation", file, "--out", out)
    assert summary["saved"] == str(out)
    model = keras.saving.load_model(out)
    data = hr.from_hdf5(file, x="image", y="label")
    scores = model.evaluate(data.batch(50), verbose=0, return_dict=True)
    assert scores["accuracy"] == pytest.approx(summary["metrics"]["val_accuracy"], abs=1e-3)
    assert {path.name for path in tmp_path.iterdir()} == {"model.keras", "corners.h5"}


def test_goes_on_with_a_saved_model(fit, tmp_path):
    """--model model.keras trains the loaded model further."""
    out = tmp_path / "model.keras"
    first = fit(*IMAGES, "--epochs", "4", "--out", out)
    second = fit(*IMAGES, "--model", out)
    assert second["metrics"]["loss"] < first["history"]["loss"][0]
    assert second["model"].startswith(str(out))


def test_starts_with_a_compiled_model_that_was_never_trained(fit, tmp_path):
    """It has no optimizer state to restore, which is no reason for a warning."""
    model = keras.Sequential(
        [keras.Input((8, 8)), keras.layers.Flatten(), keras.layers.Dense(4, activation="softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.save(tmp_path / "m.keras")
    assert fit(*IMAGES, "--model", tmp_path / "m.keras")["metrics"]["loss"] > 0


def test_an_uncompiled_file_is_refused(headrace, file, tmp_path):
    """A model without a loss cannot be trained, and the error says what to do."""
    keras.Sequential([keras.Input((8, 8)), keras.layers.Flatten()]).save(tmp_path / "m.keras")
    code, _, err = headrace("fit", file, *IMAGES, "--model", tmp_path / "m.keras")
    assert code == 2
    assert "model.compile" in err


def test_a_file_that_is_no_model_is_refused(headrace, file, tmp_path):
    """Keras' complaint is passed on."""
    (tmp_path / "m.keras").write_text("no model")
    code, _, err = headrace("fit", file, *IMAGES, "--model", tmp_path / "m.keras")
    assert code == 2
    assert "Keras cannot load" in err


@pytest.mark.parametrize("function", ["build", "for_data"])
def test_trains_what_a_function_returns(fit, own_model, function):
    """A function is called with the data if it wants it, and may import its neighbours.

    What it prints does not spoil the document.
    """
    summary = fit(*IMAGES, "--model", f"{own_model}:{function}")
    assert summary["model"] == f"{own_model}:{function}, 349 parameters"


@pytest.mark.parametrize(
    "function, words",
    [
        ("uncompiled", "model.compile"),
        ("nothing", "Received: NoneType"),
        ("sized", "It requires: side, classes"),
        ("biuld", "Did you mean 'build'"),
    ],
)
def test_a_function_that_gives_no_compiled_model_is_refused(
    headrace, file, own_model, function, words
):
    """The error names the function and what it should have returned."""
    code, _, err = headrace("fit", file, *IMAGES, "--model", f"{own_model}:{function}")
    assert code == 2
    assert words in err


@pytest.mark.parametrize("x", [["--x", "image,vector"], ["--x", "image", "--x", "vector"]])
def test_several_inputs_reach_the_users_model(fit, own_model, x):
    """--x with commas or repeated gives the model several inputs."""
    summary = fit(*x, "--y", "target", "--model", f"{own_model}:joined")
    assert summary["paths"].keys() == {"image", "vector", "target"}


def test_sample_weights_reach_the_loss(fit, file):
    """Samples of weight zero count for nothing."""
    with h5py.File(file, "a") as f:
        f["weight"][:] = 0
    assert fit(*VECTORS, "--sample-weight", "weight")["metrics"]["loss"] == 0


def test_vectors_and_float_targets(fit):
    """An MLP for regression, when the fields say so."""
    summary = fit("--x", "vector", "--y", "target", "--epochs", "3")
    assert "mae" in summary["metrics"]


def test_start_and_end_limit_the_rows(fit):
    """Rows outside are not used."""
    summary = fit(*VECTORS, "--start", "100", "--end", "200", "--validation", "none")
    assert summary["samples"] == {"training": 100, "validation": None}
    assert summary["metrics"].keys() == {"loss", "accuracy"}


def test_a_validation_file_of_another_shape_is_refused(headrace, file, tmp_path):
    """Shapes that differ are found before training."""
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as f:
        f["image"], f["label"] = np.zeros((5, 9, 9), "uint8"), np.zeros(5, "uint8")
    code, _, err = headrace("fit", file, *IMAGES, "--validation", other)
    assert code == 2
    assert "(8, 8)" in err
    assert "(9, 9)" in err


@pytest.mark.parametrize(
    "shuffle, mode", [("yes", "exact"), ("exact", "exact"), ("batch", "batch"), ("no", "none")]
)
def test_shuffle_chooses_the_order(fit, shuffle, mode):
    """Each word of --shuffle ends in its own mode."""
    assert fit(*VECTORS, "--shuffle", shuffle)["shuffle"]["mode"] == mode


def test_a_loss_that_is_not_finite_is_null_in_json(fit, file, tmp_path):
    """The document stays JSON when training diverged."""
    (tmp_path / "nan.py").write_text(
        "import keras\n"
        "def build():\n"
        "    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(1)])\n"
        "    model.compile(keras.optimizers.SGD(1e30), 'mse')\n"
        "    return model\n"
    )
    model = f"{tmp_path}/nan.py:build"
    summary = fit("--x", "vector", "--y", "target", "--model", model, "--epochs", "3")
    assert summary["metrics"]["loss"] is None


def test_a_model_file_that_exits_is_an_error(headrace, file, tmp_path):
    """Not a successful end of the command."""
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    code, out, err = headrace(
        "fit", file, "--x", "image", "--y", "label", "--model", f"{tmp_path}/leaves.py:build"
    )
    assert (code, out) == (2, "")
    assert "sys.exit" in err


def validation_rows(monkeypatch):
    """Notes the rows of the validation part of each split that is made."""
    made = []
    split = hr.Dataset.split

    def noted(data, *sizes, **options):
        parts = split(data, *sizes, **options)
        made.append(parts[1])
        return parts

    monkeypatch.setattr(hr.Dataset, "split", noted)
    return made


def test_validation_rows_are_drawn_from_each_class_alike(fit, file, monkeypatch):
    """--stratify: as split() does."""
    made = validation_rows(monkeypatch)
    fit(*IMAGES, "--validation", "0.25", "--stratify", "label")
    counts = np.bincount(made[0][:][1])
    with h5py.File(file) as opened:
        classes = np.bincount(opened["label"][()])
    assert np.all(abs(counts - classes / 4) < 1)


def test_rows_of_one_key_are_kept_together(fit, file, monkeypatch):
    """--split-by: here a field that is no input of the model."""
    with h5py.File(file, "a") as opened:
        opened["user"] = np.arange(400) // 10
    made = validation_rows(monkeypatch)
    summary = fit(*IMAGES, "--validation", "0.25", "--split-by", "user", "--seed", "3")
    assert 0 < summary["samples"]["validation"] < 200
    assert summary["samples"]["validation"] % 10 == 0
    assert len(made[0]) == summary["samples"]["validation"]


@pytest.mark.parametrize("validation", ["none", "other.h5"])
def test_how_to_split_is_refused_where_nothing_is_split(headrace, file, validation):
    """Rather than ignored."""
    for option in ("--stratify", "--split-by"):
        code, _, err = headrace("fit", file, *IMAGES, "--validation", validation, option, "label")
        assert code == 2
        assert "need a share of the rows" in err

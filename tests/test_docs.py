"""What the documents and docstrings show runs, and what they link to is there."""

import ast
import re
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import headrace

ROOT = Path(__file__).parents[1]
PACKAGE = Path(headrace.__file__).parent
BLOCK = re.compile(r"^( *)```python\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def cats(tmp_path, monkeypatch):
    """The file that the examples read, as cats.h5 and under the other names they use."""
    rng = np.random.default_rng(0)
    (tmp_path / "shards").mkdir()
    for name in ("cats.h5", "2023.h5", "2024.h5", "shards/1.h5", "shards/2.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            image = rng.integers(0, 256, (1500, 32, 32, 3), np.uint8)
            file.create_dataset("image", data=image, chunks=(64, 32, 32, 3), compression="gzip")
            file["label"] = rng.integers(0, 2, 1500)
            file["weight"] = np.ones(1500, np.float32)
            file["meta/age"] = rng.random(1500) * 80
            file["user_id"] = np.arange(1500) // 15
            file["part"] = np.array([b"train"] * 1200 + [b"val"] * 300)
            file["fold"] = np.arange(1500) // 15 % 3
    with h5py.File(tmp_path / "jets.h5", "w") as file:
        file["jets"] = np.zeros(100, [("pt", "f4"), ("mass", "f4"), ("tag", "i1")])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(text):
    return [textwrap.dedent(code) for _, code in BLOCK.findall(text)]


def test_the_readme_runs_from_top_to_bottom(cats):
    """Every Python block, one after the other, in one session."""
    code = blocks((ROOT / "README.md").read_text())
    assert len(code) >= 5
    names = {}
    for block in code:
        exec(compile(block, "README.md", "exec"), names)
    assert names["probabilities"].shape == (300, 2)


def test_the_migration_guide_runs_from_top_to_bottom(cats):
    """Every block of today's code, on files like those that it names."""
    rng = np.random.default_rng(0)
    (cats / "logs").mkdir()
    for number in range(2):
        rows = rng.random((50, 4))
        lines = [",".join(f"{v:.3f}" for v in row) + f",{i % 2}" for i, row in enumerate(rows)]
        text = "\n".join(["a,b,c,d,clear", *lines])
        (cats / "logs" / f"{number}.csv").write_text(text)
    for folder, count in (("photos", 64), ("folders/cat", 10), ("folders/dog", 10)):
        (cats / folder).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).save(cats / folder / f"{number}.png")
    (cats / "samples").mkdir()
    for number in range(64):
        np.save(cats / "samples" / f"{number}.npy", rng.integers(0, 256, (32, 32, 3), np.uint8))
    names = {}
    code = blocks((ROOT / "docs" / "migrate.md").read_text())
    assert len(code) >= 8
    for block in code:
        exec(compile(block, "migrate.md", "exec"), names)
    assert len(names["data"]) == 100


def examples():
    """Every example in a docstring of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                for code in blocks(ast.get_docstring(node) or ""):
                    name = f"{path.relative_to(PACKAGE)}:{getattr(node, 'name', '')}"
                    yield pytest.param(code, path, id=name)


@pytest.mark.filterwarnings("ignore:.*is kept for old code:FutureWarning")
@pytest.mark.parametrize("code, path", list(examples()))
def test_examples_in_docstrings_run(cats, code, path):
    """With the names of the module, and the usual ones: hr, np, data, train, model, loader."""
    import keras

    import headrace as hr

    module = ".".join(("headrace", *path.relative_to(PACKAGE).with_suffix("").parts))
    names = dict(vars(__import__(module.removesuffix(".__init__"), fromlist=["_"])))
    data = hr.from_hdf5("cats.h5", x="image", y="label")
    train, val = data.split(0.8, seed=0)
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    names |= {"hr": hr, "np": np, "data": data, "train": train, "val": val, "model": model}
    x, y = data[:100]
    names |= {"x_train": x, "y_train": y, "table": {"age": np.ones(1500)}}
    np.save("photos.npy", data[:][0])
    np.save("labels.npy", data[:][1])
    names |= {"my_sequence": [(x, y)] * 3}
    names |= {"loader": train.batch(10, shuffle=True), "keras": keras}
    exec(compile(code, str(path), "exec"), names)


PAGES = (
    sorted(ROOT.glob("*.md"))
    + sorted(ROOT.glob("docs/*.md"))
    + sorted(ROOT.glob("benchmarks/*.md"))
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """Relative links in the documents."""
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_public_function_has_an_example():
    """What a user may call shows how."""
    public = [headrace.from_hdf5, headrace.from_arrays, headrace.from_sequence, headrace.open]
    public += [headrace.HDF5Matrix, headrace.fit_generator, headrace.evaluate_generator]
    public += [headrace.predict_generator, headrace.concat, headrace.create]
    public += [headrace.pack, headrace.verify]
    public += [headrace.Dataset, headrace.Dataset.split, headrace.Dataset.map]
    public += [headrace.Dataset.batch, headrace.Loader.state_dict]
    public += [headrace.stats, headrace.adapt, headrace.Stats, headrace.Stats.to_json]
    public += [headrace.Stats.plot, headrace.Stats.class_weight]
    public += [headrace.Stats.normalization, headrace.Stats.rescaling]
    for item in public:
        assert "```python" in item.__doc__, item

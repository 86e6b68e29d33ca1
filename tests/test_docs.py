"""What the documents and docstrings show runs, and what they link to is there."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import headrace
from headrace.cli import make_parser
from tests.pages import ROOT, blocks, check, commands, make_files, output_of, run
from tools.map import PAGE, make_map
from tools.site import OUTSIDE, with_links

PACKAGE = Path(headrace.__file__).parent
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in OUTSIDE if name.endswith(".md")] + sorted(DOCS.rglob("*.md"))

# Its sections need JAX, PyTorch and TensorFlow: tests/keras/test_other_loops.py runs them.
ELSEWHERE = {"other-loops.md"}

# What the last lines of some pages come to.
LENGTHS = {
    "README.md": {"train": 1200, "val": 300, "probabilities": 300},
    "docs/splits.md": {"train": 1200, "val": 300, "folds": 3, "rare": 1000},
    "docs/data.md": {"data": 3000, "many": 1000, "both": 4000},
    "docs/create.md": {"data": 1000, "small": 1000},
    "docs/pack.md": {"data": 1500, "packed": 1500, "keyed": 1500},
    "docs/arrays.md": {"data": 1000},
    "docs/hdf5.md": {"data": 3000, "jets": 100},
    "docs/migrate.md": {"data": 100},
    "docs/resume.md": {"loader": 47},
}


def page_name(page):
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def cats(tmp_path, monkeypatch):
    """The files that examples read, in the current folder."""
    monkeypatch.delenv("COLUMNS", raising=False)  # lines are as wide as in a pipe
    monkeypatch.chdir(tmp_path)
    make_files(tmp_path)
    return tmp_path


def pages_that_run():
    for page in PAGES:
        found = {block.language for block in blocks(page.read_text("utf-8"))}
        if page.name not in ELSEWHERE and found & {"python", "console"}:
            yield page


@pytest.mark.parametrize("page", list(pages_that_run()), ids=page_name)
def test_pages_run_from_top_to_bottom(page, tmp_path, monkeypatch):
    """Python blocks share one session, and commands print what the page shows."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.chdir(tmp_path)
    make_files(tmp_path, page.name)
    names = run(page.read_text("utf-8"), page_name(page))
    for name, length in LENGTHS.get(page_name(page), {}).items():
        assert len(names[name]) == length, name


def test_pages_with_code_are_found():
    """A page whose blocks are in a form that no test knows would not run."""
    names = {page.name for page in pages_that_run()}
    assert names >= {"README.md", "info.md", "stats.md", "data.md", "splits.md", "batches.md"}
    assert names >= {"resume.md", "pack.md", "create.md", "hdf5.md", "arrays.md", "errors.md"}
    assert names >= {"from-sequence.md", "migrate.md", "command-line.md"}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_block_names_a_known_language(page):
    """Only Python of today (python), terminals (console), old code (py) and shell (sh)."""
    fences = re.findall(r"^ *```(.*)$", page.read_text("utf-8"), re.MULTILINE)
    assert len(fences) % 2 == 0
    assert set(fences[::2]) <= {"python", "console", "py", "sh", "text", "toml"}


def shell_commands():
    for page in PAGES:
        for block in blocks(page.read_text("utf-8"), "sh"):
            for line in block.text.replace("\\\n", " ").splitlines():
                if line.startswith("headrace "):
                    yield pytest.param(line, id=f"{page_name(page)}: {line[:40]}")


@pytest.mark.parametrize("line", list(shell_commands()))
def test_shell_commands_have_the_options_that_pages_show(line):
    """These do not run, because they write somewhere or need files of the reader's."""
    [command] = commands(f"$ {re.split('[|>]|&&', line)[0]}\n")
    assert make_parser().parse_args(command.arguments).command == command.arguments[0]


def test_a_command_that_prints_something_else_is_found(cats):
    """The check of outputs can fail."""
    text = "$ headrace verify jets.h5\n" + output_of(["verify", "jets.h5"])
    [command] = commands(text)
    check(command, "a page")
    with pytest.raises(AssertionError, match="a page shows"):
        check(command._replace(output=command.output.replace("100 rows", "101 rows")), "a page")
    with pytest.raises(AssertionError, match="gave 2"):
        output_of(["verify", "missing.h5"])


def examples():
    """Every example in a docstring of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                for block in blocks(ast.get_docstring(node) or "", "python"):
                    name = f"{path.relative_to(PACKAGE)}:{getattr(node, 'name', '')}"
                    yield pytest.param(block.text, path, id=name)


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


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page):
    """Relative links lead to files here, and to pages on the site."""
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target
    source = page_name(page)
    with_links(text, source, OUTSIDE.get(source, source.removeprefix("docs/")))


def test_links_work_on_the_site():
    """A document outside docs/ has another place there."""
    text = "[a](docs/pack.md#verify) [b](https://example.org/x.md) [c](SECURITY.md)"
    there = "[a](pack.md#verify) [b](https://example.org/x.md) [c](security.md)"
    assert with_links(text, "README.md", "index.md") == there
    text, there = "![plot](RESULTS.svg) [a](../README.md)", "![plot](RESULTS.svg) [a](../index.md)"
    assert with_links(text, "benchmarks/RESULTS.md", "benchmarks/results.md") == there
    with pytest.raises(ValueError, match="not a page of the site"):
        with_links("[a](tests/notes.md)", "README.md", "index.md")


MAINTAINERS_PAGES = [ROOT / "ARCHITECTURE.md", *sorted(DOCS.glob("internals/*.md"))]


@pytest.mark.parametrize("page", MAINTAINERS_PAGES, ids=page_name)
def test_files_that_pages_for_maintainers_name_are_there(page):
    """A path from the package or the root, or the end of one within the package."""
    text = page.read_text("utf-8")
    files = {f"/{path.relative_to(PACKAGE).as_posix()}" for path in PACKAGE.rglob("*.py")}
    named = re.findall(r"`([\w/]+\.py)`", text)
    for name in named:
        inside = any(file.endswith(f"/{name}") for file in files)
        assert inside or (ROOT / name).is_file(), name
    for name in re.findall(r"`(\w+(?:/\w+)*)/`|`(\w+(?:/\w+)+)`", text):
        folder = "".join(name)
        assert (PACKAGE / folder).is_dir() or (ROOT / folder).is_dir(), folder
    assert len(named) > 10 or page.name != "ARCHITECTURE.md"


def test_the_map_of_files_is_up_to_date():
    """`make map` writes it anew."""
    assert PAGE.read_text("utf-8") == make_map()


def test_the_reference_has_every_public_name():
    """A page of docs/api has the docstring of each name, and no page names another one."""
    pages = [page.read_text("utf-8") for page in DOCS.glob("api/*.md")]
    shown = [
        name for page in pages for name in re.findall(r"^::: headrace\.(.*)$", page, re.MULTILINE)
    ]
    shown.append("HeadraceError")  # in `errors`
    assert sorted(name for name in shown if "." not in name) == sorted(headrace.__all__)
    assert "testing.SourceTests" in shown


def test_the_table_of_errors_has_every_class():
    """Each with the built-in error as which it can be caught."""
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \|", (DOCS / "errors.md").read_text("utf-8"), re.MULTILINE
    )
    made = {
        name: kind
        for name, kind in vars(headrace.errors).items()
        if isinstance(kind, type) and issubclass(kind, headrace.HeadraceError)
    }
    assert {name for name, _ in rows} == set(made) - {"HeadraceError"}
    for name, builtin in rows:
        assert issubclass(made[name], __builtins__[builtin]), name


def test_documents_are_as_short_as_their_readers_need():
    """README is read on one screen or two, ARCHITECTURE in a quarter of an hour."""
    readme = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(readme) <= 180
    assert len((ROOT / "ARCHITECTURE.md").read_text("utf-8").split()) <= 3000


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

"""The memory that an error names is enough for the same call, and so is anything above it."""

import re
import shutil

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace.cli import main
from headrace.errors import MemoryBudgetError
from headrace.splits import reading as columns

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # advice about the shuffle

workers = st.sampled_from([1, 2, 8])
more = st.one_of(st.just(1.0), st.floats(1, 30))
"""How many times the least is given."""


@st.composite
def forms(draw):
    """Rows of a file, and of each field: elements of a row, rows of a chunk, compression."""
    rows = draw(st.sampled_from([1, 7, 64, 500, 2000]))
    field = st.tuples(
        st.sampled_from([1, 3, 50, 700]),
        st.none() | st.integers(1, rows),
        st.sampled_from([None, "gzip"]),
    )
    return rows, draw(st.lists(field, min_size=1, max_size=3))


def write(path, form):
    """Writes such a file, and opens it as a data set."""
    rows, fields = form
    with h5py.File(path, "w") as file:
        for number, (width, chunk, compression) in enumerate(fields):
            chunks = (chunk, width) if chunk else (True if compression else None)
            values = np.arange(rows * width, dtype="uint16").reshape(rows, width)
            file.create_dataset(f"f{number}", data=values, chunks=chunks, compression=compression)
    return hr.from_hdf5(path, x=[f"f{number}" for number in range(len(fields))])


def check(call, times):
    """One byte is refused; what the error names, taken `times`, is accepted."""
    with pytest.raises(MemoryBudgetError) as caught:
        call(1)
    least = caught.value.least
    assert str(caught.value).endswith(f"The least that works here is memory={least}.")
    call(int(least * times))


@settings(max_examples=60)
@given(
    form=forms(),
    size=st.sampled_from([1, 8, 100, 4000]),
    shuffle=st.sampled_from([True, False, "exact", "batch"]),
    workers=workers,
    more=more,
)
# The field with small blocks fits into the share of resident fields; the other has one large block.
@example(
    form=(3000, [(1, 10, "gzip"), (1, 3000, "gzip")]), size=1, shuffle=True, workers=1, more=25.0
)
# The arithmetic of the order has no room beside a resident field.
@example(
    form=(3000, [(3, None, None), (700, None, None)]), size=100, shuffle=True, workers=1, more=1.0
)
def test_batch(tmp_path, form, size, shuffle, workers, more):
    """`batch` takes it, and keeps to it."""
    data = write(tmp_path / "data.h5", form)

    def call(memory):
        loader = data.batch(size, shuffle=shuffle, seed=0, memory=memory, workers=workers)
        assert sum(len(batch[0][0]) for batch in loader) == len(data)
        assert loader.report().peak_bytes <= memory

    check(call, more)


@settings(max_examples=25)
@given(form=forms(), workers=workers, more=more)
def test_stats(tmp_path, form, workers, more):
    """`stats` takes it; with any number of workers."""
    data = write(tmp_path / "data.h5", form)
    check(lambda memory: hr.stats(data, memory=memory, workers=workers), more)


@settings(max_examples=25)
@given(form=forms(), workers=workers, more=more)
@example(form=(64, [(1, 8, "gzip"), (700, 64, "gzip")]), workers=1, more=1.0)
def test_verify(tmp_path, form, workers, more):
    """`verify` names what is enough for all fields before it reads the first."""
    write(tmp_path / "data.h5", form)
    path = tmp_path / "data.h5"
    check(lambda memory: hr.verify(path, memory=memory, workers=workers), more)


@settings(max_examples=25)
@given(
    form=forms(),
    options=st.fixed_dictionaries(
        {
            "shuffle": st.booleans(),
            "compression": st.sampled_from([None, "gzip"]),
            "shard_size": st.sampled_from([None, 1_000_000]),
            "workers": workers,
        }
    ),
    more=more,
)
def test_pack(tmp_path, form, options, more):
    """`pack` takes it: in row order, shuffled in one pass or two, as a file and as shards."""
    data = write(tmp_path / "data.h5", form)
    out = tmp_path / "out"

    def call(memory):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        made = hr.pack(data, out / "packed", **options, memory=memory)
        assert len(made) == len(data)

    check(call, more)


def test_refused_pack_leaves_nothing_behind(tmp_path):
    """Memory is looked at before anything is written."""
    data = write(tmp_path / "data.h5", (64, [(3, 8, "gzip")]))
    with pytest.raises(MemoryBudgetError):
        hr.pack(data, tmp_path / "out", memory=1, shard_size="1kB")
    assert [path.name for path in tmp_path.iterdir()] == ["data.h5"]


@settings(max_examples=15)
@given(
    form=forms().filter(lambda form: form[0] > 10),
    validation=st.sampled_from(["none", "0.3", "data.h5"]),
    shuffle=st.sampled_from(["yes", "exact", "batch", "no"]),
)
def test_fit_on_the_command_line(tmp_path, capsys, monkeypatch, form, validation, shuffle):
    """`--memory` takes it, which training and validation share, whatever seed is drawn."""
    write(tmp_path / "data.h5", form)
    monkeypatch.chdir(tmp_path)
    options = ("--x", "f0", "--validation", validation, "--shuffle", shuffle)

    def error_with(memory):
        # The model is looked for once the batches can be made.
        assert main(["fit", "data.h5", "--model", "no.keras", *options, "--memory", memory]) == 2
        return capsys.readouterr().err.splitlines()[-1]

    found = re.search(r"The least that works here is --memory (\d+)\.", error_with("1"))
    for _ in range(3):
        assert "no.keras" in error_with(found[1])


def test_splits_take_what_a_large_chunk_needs(tmp_path, monkeypatch):
    """A field that decides may lie in chunks larger than what is set aside for it."""
    data = write(tmp_path / "data.h5", (2000, [(1, 2000, "gzip")]))
    monkeypatch.setattr(columns, "MEMORY", 1000)
    kept = data.filter(lambda f0: f0[:, 0] < 10)
    assert len(kept) == 10


def test_splits_say_how_a_chunk_gets_smaller(tmp_path, monkeypatch):
    """A chunk that this process may not hold is named, with the way out."""
    data = write(tmp_path / "data.h5", (2000, [(1, 2000, "gzip")]))
    monkeypatch.setattr(columns, "MEMORY", 1000)
    monkeypatch.setattr("headrace.resources.memory_limit", lambda: 10_000)
    monkeypatch.setattr("headrace.resources._FEW_BYTES", 0)
    with pytest.raises(MemoryBudgetError, match=r"'f0', whose chunks are large.* Pack") as caught:
        data.filter(lambda f0: f0[:, 0] < 10)
    assert caught.value.least is None

"""Rows that a source cannot read: an error that says why, or another sample in their place."""

import json

import numpy as np
import pytest

import headrace as hr
from headrace.errors import BadSampleError, OptionError
from headrace.loading.fill import batches
from headrace.sources.zipped import Member, ZipSource
from tests.bad_input.refusal import refused
from tests.loading.faulty import FaultySource, dataset

BAD = (3, 17, 58, 59, 121, 199)
ROWS = 700

pytestmark = pytest.mark.filterwarnings("ignore:shuffle=True mixes too little")

# A budget that holds everything, and one that holds a few blocks.
MEMORY = {"cached": "10MB", "windows": 14_000}


def data_of(kind):
    """Rows by block, by row, of two sources, and behind an offset of another."""
    if kind == "two sources":
        later = [row - 100 for row in BAD if row >= 100]
        return dataset(
            FaultySource(100, [row for row in BAD if row < 100]),
            FaultySource(ROWS - 100, later, first=100),
        )
    if kind == "zipped":
        source = FaultySource(ROWS + 5, [row + 5 for row in BAD])
        names = {"x": "x", "y": "y"}
        zipped = ZipSource([Member(source, names, 5)])
        return dataset(zipped).map(lambda x, y: (np.where(x < 0, x, x - 5), y - 5))
    return dataset(FaultySource(ROWS, BAD, by_row=kind == "rows"))


KINDS = ("blocks", "rows", "two sources", "zipped")


def epoch_of(loader):
    x, y = (np.concatenate(parts) for parts in zip(*loader, strict=True))
    assert (x[:, 0] == y).all()
    assert (x[:, 1] == y).all()
    return y.tolist()


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shuffle", [True, False, "exact"])
def test_another_sample_stands_for_one_that_cannot_be_read(kind, memory, shuffle):
    """Every other row comes as often as it should, and batches keep their size."""
    if shuffle == "exact" and memory == "windows" and kind != "rows":
        shuffle = "batch"
    options = {"shuffle": shuffle, "seed": 5, "memory": MEMORY[memory]}
    loader = data_of(kind).batch(16, **options, on_error="skip")
    sizes = [len(y) for _, y in loader]
    assert sizes == [16] * 43 + [12]
    rows = epoch_of(loader)
    assert set(range(ROWS)) - set(rows) == set(BAD)
    assert len(rows) - len(set(rows)) <= len(BAD)
    bad = loader.report().bad
    assert bad["count"] == len(BAD)
    assert [one["row"] for one in bad["rows"]] == list(BAD)
    assert "is torn" in bad["rows"][0]["reason"]
    assert "unreadable" in str(loader.report())
    json.dumps(loader.report().to_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_the_replacement_depends_on_seed_epoch_and_row_alone(kind):
    """Not on workers, not on what was found before, and the same after resuming."""
    options = {"shuffle": True, "seed": 5, "memory": MEMORY["windows"], "on_error": "skip"}
    one, four = (data_of(kind).batch(16, **options, workers=n) for n in (1, 4))
    first, second = epoch_of(one), epoch_of(one)
    assert [epoch_of(four), epoch_of(four)] == [first, second]
    resumed = data_of(kind).batch(16, **options, workers=2)
    for number, _ in enumerate(four):
        if number == 20:
            saved = four.state_dict()
            break
    resumed.load_state_dict(json.loads(json.dumps(saved)))
    third = epoch_of(resumed)
    assert epoch_of(resumed) == epoch_of(four)
    fresh = data_of(kind).batch(16, **options)
    epochs = [epoch_of(fresh) for _ in range(3)]
    assert epochs[:2] == [first, second]
    assert epochs[2][21 * 16 :] == third
    replaced = [sorted(set(rows) - set(other)) for rows, other in ((first, second),)]
    assert first != second or replaced


def test_threads_agree_with_the_calling_thread():
    options = {"shuffle": True, "seed": 1, "memory": MEMORY["windows"], "on_error": "skip"}
    loader = data_of("blocks").batch(16, **options)
    made = batches(loader._describe(loader._cursor.next, False, None))
    expected = np.concatenate([y for _, y in made]).tolist()
    assert epoch_of(loader) == expected


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_says_why_after_the_batches_before_it(kind, memory):
    loader = data_of(kind).batch(16, memory=MEMORY[memory])
    stream = iter(loader)
    with refused(BadSampleError, "is torn"):
        next(stream)
    later = data_of(kind).batch(3, memory=MEMORY[memory])
    stream = iter(later)
    assert next(stream)[1].tolist() == [0, 1, 2]
    with refused(BadSampleError, f"row {8 if kind == 'zipped' else 3} of"):
        next(stream)


def test_too_many_bad_rows_are_an_error():
    """Above the share that may be replaced; it says how many, and lists some."""
    loader = dataset(FaultySource(100, range(0, 100, 3))).batch(10, on_error="skip", max_bad=0.2)
    with refused(BadSampleError, "of 100 rows cannot be read so far", "max_bad=0.2", "row 0 of"):
        list(loader)
    some = dataset(FaultySource(100, range(20))).batch(10, on_error="skip", max_bad=0.2)
    assert len(epoch_of(some)) == 100


def test_all_rows_bad_is_an_error_and_no_hang():
    loader = dataset(FaultySource(50, range(50))).batch(10, on_error="skip", max_bad=1)
    with refused(BadSampleError, "other rows drawn in place of one"):
        list(loader)


def test_single_rows_and_slices_raise():
    data = data_of("blocks")
    assert data[4][1] == 4
    with refused(BadSampleError, "row 3 of 'faulty' is torn"):
        data[3]
    with refused(BadSampleError, "torn"):
        data[:10]


def test_fields_that_can_be_read_are_no_error():
    """The label of a broken image is whole."""
    assert data_of("blocks").only("y")[:20][0].tolist() == list(range(20))


def test_statistics_and_packing_raise(tmp_path):
    """Rather than count, or write, what is not there; what was there before stays."""
    with refused(BadSampleError, "torn"):
        hr.stats(data_of("blocks"))
    with refused(BadSampleError, "torn"):
        hr.pack(data_of("blocks"), tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == []


def test_balanced_epochs_replace_as_well():
    data = data_of("rows").balance(np.arange(ROWS) % 2)
    loader = data.batch(16, shuffle=True, seed=0, on_error="skip")
    for _ in range(2):
        assert not set(epoch_of(loader)) & set(BAD)


@pytest.mark.parametrize(
    "options", [{"on_error": "ignore"}, {"max_bad": 2}, {"max_bad": True}, {"max_bad": "1%"}]
)
def test_options_that_cannot_be_honoured_are_refused(options):
    (name,) = options
    with refused(OptionError, f"Expected {name} to be"):
        data_of("blocks").batch(16, **options)

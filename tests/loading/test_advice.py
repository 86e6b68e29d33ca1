"""What `batch` warns of, in words that say what it means and what helps."""

import re
import warnings

import pytest

from tests.loading.helpers import dataset


@pytest.mark.parametrize("memory, batch_size", [(40_000, 32), (300_000, 100)])
def test_a_weak_shuffle_names_memory_that_mixes(make_images, memory, batch_size):
    """With it, and with three quarters of it as `headrace fit` gives, there is no warning."""
    data = dataset(make_images(20_000))
    with pytest.warns(UserWarning, match="shuffle=True mixes too little") as caught:
        data.batch(batch_size, shuffle=True, seed=0, memory=memory)
    assert caught[0].filename == __file__
    text = str(caught[0].message)
    assert "of about 16 neighbouring rows at a time" in text
    assert f"for batches of {batch_size}." in text
    assert "headrace pack FILE.h5 MIXED.h5 --shuffle" in text
    megabytes = int(re.search(r"memory='(\d+)MB'", text)[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for enough in (megabytes * 10**6, megabytes * 10**6 * 3 // 4):
            data.batch(batch_size, shuffle=True, seed=0, memory=enough)


def test_memory_that_this_process_may_not_use_is_not_named(make_images, monkeypatch):
    """Then only the file can be changed."""
    monkeypatch.setattr("headrace.loading.advice.memory_limit", lambda: 50_000)
    with pytest.warns(UserWarning, match="What helps: more memory, or a file"):
        dataset(make_images(20_000)).batch(32, shuffle=True, memory=40_000)


@pytest.mark.parametrize("shuffle", [False, "batch"])
def test_orders_that_promise_no_mixing_are_not_warned_of(make_images, shuffle):
    """Warnings are errors here."""
    loader = dataset(make_images(4000)).batch(32, shuffle=shuffle, memory=40_000)
    assert len(loader) == 125

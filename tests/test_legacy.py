"""Generators that are read ahead for the calls that Keras had."""

import threading

import numpy as np
import pytest

from headrace.errors import BatchTimeoutError
from headrace.legacy import _ReadAhead


def test_a_generator_that_hangs_is_found_out_and_left_behind():
    """The batches before it come, and the end does not wait for it."""
    go_on = threading.Event()

    def batches():
        yield np.zeros((2, 3)), np.zeros(2)
        go_on.wait()

    ahead = _ReadAhead(batches(), 10, None, timeout=0.5)
    stream = ahead.start()
    assert len(next(stream)) == 2
    with pytest.raises(
        BatchTimeoutError, match=r"Making batch 1 .* stands in batches\(\)"
    ) as caught:
        next(stream)
    assert "go_on.wait()" in caught.value.__notes__[0]
    ahead.stop()
    assert ahead._thread.is_alive()
    go_on.set()
    ahead._thread.join(20)
    assert not ahead._thread.is_alive()

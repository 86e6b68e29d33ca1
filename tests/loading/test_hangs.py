"""Map functions and reads that hang: found out, shown, and left behind."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import headrace as hr
from headrace.errors import BatchTimeoutError, OptionError
from tests.bad_input.refusal import refused


@pytest.fixture
def let_go():
    """What hanging code waits for; set when the test ends."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("workers", [1, 3])
def test_a_map_function_that_hangs_is_found_out(let_go, workers):
    """The error names batch, samples and function, and shows the stack."""

    def stuck(x):
        if x[0] == 24:
            let_go.wait()
        return x

    loader = hr.from_arrays(np.arange(80)).map(stuck).batch(8, workers=workers, timeout=1)
    stream = iter(loader)
    with pytest.raises(BatchTimeoutError) as caught:
        list(stream)
    message = str(caught.value)
    assert message.startswith("Making batch 3 (samples 24 to 31 of the epoch) ")
    assert "takes longer than 1 s. It stands in stuck(), " in message
    assert message.endswith("give batch() a longer timeout=, or None.")
    assert "let_go.wait()" in caught.value.__notes__[0]
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(StopIteration):
        next(stream)
    let_go.set()
    assert len(list(loader)) == 10


def test_a_read_that_hangs_is_found_out(let_go):
    """An array-like object may wait for a server."""

    class Remote:
        shape, dtype, ndim = (80,), np.dtype("int64"), 1

        def __len__(self):
            return 80

        def __getitem__(self, index):
            if armed.is_set():
                let_go.wait()
            return np.arange(80)[index]

    armed = threading.Event()
    loader = hr.from_arrays(Remote()).batch(8, workers=2, timeout=1)
    armed.set()
    with pytest.raises(BatchTimeoutError, match=r"It stands in __getitem__\(\)"):
        next(iter(loader))


def test_jobs_that_are_slow_one_by_one_are_no_hang():
    """An epoch may take longer than `timeout`, and so may the wait for a window."""

    def slow(x):
        time.sleep(0.02)
        return x

    loader = hr.from_arrays(np.arange(800)).map(slow).batch(8, workers=1, timeout=1.5)
    assert sum(len(x) for (x,) in loader) == 800


SCRIPT = """
import threading, numpy as np, headrace as hr
from headrace.errors import BatchTimeoutError
def stuck(x):
    threading.Event().wait()
loader = hr.from_arrays(np.arange(80)).map(stuck).batch(8, workers=2, timeout=0.5)
try:
    list(loader)
except BatchTimeoutError as error:
    print("found out")
"""


def test_a_program_whose_map_function_hangs_can_end():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"found out\n")


@pytest.mark.parametrize("timeout", [0, -3, float("nan"), "10", True])
def test_limits_that_cannot_be_meant_are_refused(timeout):
    with refused(OptionError, "Expected timeout to be a number of seconds"):
        hr.from_arrays(np.arange(8)).batch(4, timeout=timeout)

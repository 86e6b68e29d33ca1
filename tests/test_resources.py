"""Sizes as people write them, and what the process may use."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import resources
from headrace.errors import OptionError


@pytest.mark.parametrize(
    "text, size",
    [
        ("256MB", 256_000_000),
        ("1.5 GB", 1_500_000_000),
        ("1GiB", 2**30),
        ("64 kb", 64_000),
        ("2K", 2_000),
        ("2Ki", 2048),
        ("10", 10),
        ("10B", 10),
        (4096, 4096),
    ],
)
def test_sizes_are_read_as_people_write_them(text, size):
    """Powers of 1000, or of 1024 with an i."""
    assert resources.parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "1.2.3GB", "1 PB", 0, -5, None, True, 1.5])
def test_what_is_no_size_is_refused(text):
    """With what came."""
    with pytest.raises(OptionError, match="Received"):
        resources.parse_bytes(text)


@given(st.integers(1, 10**15))
def test_sizes_are_shown_to_three_digits_or_so(size):
    """Reading back what is shown is off by at most a twentieth."""
    shown = resources.format_bytes(size)
    assert abs(resources.parse_bytes(shown) - size) <= size / 19
    assert len(shown) <= 7


def test_cpus_follow_the_affinity_of_the_process():
    """A process that is pinned to one CPU gets one worker."""
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]);"
        "from headrace.resources import cpu_count; print(cpu_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    assert 1 <= resources.cpu_count() <= os.cpu_count()


def test_the_default_budget_is_a_quarter_of_what_is_free_and_2_gib_at_most():
    """Never more than the process may use."""
    assert 0 < resources.default_memory() <= min(resources.memory_limit() // 3, 2 * 2**30)


def test_peak_memory_grows_with_what_was_held():
    """In bytes."""
    before = resources.peak_rss()
    block = bytearray(b"x") * (before + 50_000_000)
    assert resources.peak_rss() >= before + 40_000_000
    assert len(block) > before


def test_open_files_are_those_of_the_process():
    resource = pytest.importorskip("resource", reason="Windows has no such limits")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
        assert resources.open_files_limit() == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert 0 < resources.open_files_limit() <= 4096

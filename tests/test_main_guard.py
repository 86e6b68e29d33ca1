"""Programs whose worker processes would start others, and those that are written for them."""

import py_compile
import subprocess
import sys

import pytest

from headrace.loading.items import main_guard
from tests.test_sequence_processes import environment

HEAD = """
import headrace as hr
from tests.sequences import Numbers
print("runs", flush=True)
"""
SEQUENCE = "loader = hr.from_sequence(Numbers(), workers=2, processes=True)\n"


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, *arguments, str(script)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


FIT = """
import keras
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
model.compile(keras.optimizers.SGD(1e-6), "mse")
history = hr.fit_generator(model, Numbers(), workers=2, use_multiprocessing=True, verbose=0,
                           validation_data=Numbers())
print(len(history.history["loss"]), len(history.history["val_loss"]))
"""


def test_fit_generator_without_a_main_guard_takes_threads_and_says_so(tmp_path):
    """One warning that names the line, and no process that runs the program once more."""
    script = tmp_path / "train.py"
    script.write_text(HEAD + FIT)
    done = run(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["runs", "1", "1"]
    warned = [line for line in done.stderr.splitlines() if "RuntimeWarning" in line]
    assert len(warned) == 1
    assert str(script) in warned[0]
    assert "using 2 threads instead" in warned[0]
    assert "line 9 of train.py" in warned[0]
    assert '`if __name__ == "__main__":`' in warned[0]
    assert "Traceback" not in done.stderr


def test_from_sequence_without_a_main_guard_is_refused_before_anything_starts(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(HEAD + SEQUENCE)
    done = run(script)
    assert done.returncode == 1
    assert done.stdout.split() == ["runs"]
    assert done.stderr.count("Traceback") == 1
    assert (
        "ProcessesError: Worker processes import the program again, and line 5 of train.py"
        in (done.stderr.splitlines()[-1])
    )


def test_a_program_whose_source_is_missing_is_refused_by_its_first_process(tmp_path):
    """The process that would start others says so by its exit code, without a traceback."""
    script = tmp_path / "train.py"
    script.write_text(HEAD + SEQUENCE)
    compiled = py_compile.compile(str(script), str(tmp_path / "train.pyc"))
    script.unlink()
    done = run(compiled)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert "this program would start more of them" in done.stderr.splitlines()[-1]


THREAD = """import threading
def main():
    {}
if __name__ == '__main__':
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()"""
GUARDED = [
    "if __name__ == '__main__':\n    {}",
    "def main():\n    {}\nif '__main__' == __name__:\n    main()",
    "def main():\n    {}\n__name__ == '__main__' and main()",
    "import multiprocessing\nif multiprocessing.parent_process() is None:\n    {}",
    THREAD,
]


@pytest.mark.parametrize("form", GUARDED)
@pytest.mark.parametrize("guarded", [True, False])
def test_guards_are_seen_in_every_form(tmp_path, form, guarded):
    """And a call that none of them encloses is not taken for guarded."""
    script = tmp_path / "train.py"
    call = "print(main_guard._unguarded_line(), flush=True)"
    body = form.format(call) if guarded else form.format("pass") + f"\n{call}"
    script.write_text(f"from headrace.loading.items import main_guard\n{body}\n")
    done = run(script)
    line = len(script.read_text().splitlines())
    assert done.stdout.split() == (["None"] if guarded else [str(line)]), done.stderr


def test_modules_that_no_process_imports_need_no_guard():
    """Such as this run of pytest."""
    assert main_guard._unguarded_line() is None

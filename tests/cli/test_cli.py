"""The command itself: help, version, exit codes, one line for an error."""

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from penstock.cli import main


@pytest.mark.parametrize(
    "arguments", [["--help"], ["fit", "--help"], ["info", "--help"], ["stats", "--help"]]
)
def test_help_goes_to_stdout(process, arguments):
    """Help is what was asked for: stdout, exit code 0."""
    done = process(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: penstock")


def test_version(process):
    """`--version` gives the installed version."""
    assert process("--version").stdout == f"penstock {importlib.metadata.version('penstock')}\n"


def test_help_imports_neither_keras_nor_a_backend():
    """The command starts quickly, and works where no backend is installed."""
    code = (
        "import json, sys\n"
        "from penstock.cli import main\n"
        "try:\n    main(['fit', '--help'])\n"
        "except SystemExit:\n    pass\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & {"keras", "jax", "torch", "tensorflow"}


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "required: COMMAND"),
        (["train"], "invalid choice: 'train'"),
        (["fit"], "required: FILE"),
        (["fit", "{file}", "--epoch", "3"], "unrecognized arguments: --epoch"),
        (["fit", "{file}", "--epochs", "0"], "expected 1 or more, received 0"),
        (["fit", "{file}", "--batch-size", "many"], "--batch-size"),
        (["fit", "{file}", "--seed", "-1"], "expected 0 to"),
        (["fit", "{file}", "--shuffle", "perhaps"], "invalid choice: 'perhaps'"),
        (["fit", "{file}", "--memory", "much"], "Received: 'much'"),
        (["fit", "{file}", "--memory", "1kB", "--y", "label", "--x", "image"], "too little"),
        (["fit", "{file}", "--validation", "1.5", "--y", "label", "--x", "image"], "between 0"),
        (["fit", "{file}", "--end", "1", "--y", "label", "--x", "image"], "leaves"),
        (["fit", "{file}", "--validation", "no.h5", "--y", "label", "--x", "image"], "no.h5"),
        (["fit", "no.h5", "--y", "label"], "no.h5"),
        (["fit", "{file}", "--x", "imag", "--y", "label"], "Did you mean 'image'"),
        (["fit", "{file}", "--x", "image", "--y", "label", "--end", "9999"], "9999"),
        (["fit", "{file}", "--x", "text", "--y", "label"], "text"),
        (["fit", "{file}", "--x", "image"], "y field"),
        (["fit", "{file}", "--x", "image,vector", "--y", "label"], "--model"),
        (["fit", "{file}", "--x", "image", "--y", "label", "--out", "model.h5"], ".keras"),
        (["fit", "{file}", "--x", "image", "--y", "label", "--out", "no/m.keras"], "no folder no"),
        (["fit", "{file}", "--x", "image", "--y", "label", "--model", "no.keras"], "no.keras"),
        (["fit", "{file}", "--x", "image", "--y", "label", "--model", "no.py:build"], "no.py"),
        (["fit", "{file}", "--x", "image", "--y", "label", "--model", "model"], "file.py:function"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(penstock, file, arguments, words):
    """Each mistake is named in one line on stderr, before any training."""
    code, out, err = penstock(*[argument.format(file=file) for argument in arguments])
    assert (code, out) == (2, "")
    assert err.startswith("penstock: error: ")
    assert err.count("\n") == 1
    assert words in err


def test_debug_shows_where(penstock):
    """`--debug` adds the traceback."""
    code, _, err = penstock("fit", "no.h5", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert "penstock: error: " in err.splitlines()[-1]


def test_failure_at_work_is_exit_code_1(penstock, file, tmp_path):
    """What goes wrong in the user's own function is a failure, and says whose."""
    (tmp_path / "broken.py").write_text("def build():\n    raise RuntimeError('out of\\n luck')\n")
    name = f"{tmp_path}/broken.py:build"
    code, _, err = penstock("fit", file, "--x", "image", "--y", "label", "--model", name)
    assert code == 1
    [line] = err.splitlines()
    assert line.startswith("penstock: error: RuntimeError: out of luck (raised by ")
    assert "--debug" in line


def test_a_backend_that_is_not_installed_is_exit_code_1(process, file):
    """The line says what to install."""
    backends = {"jax", "torch", "tensorflow"}
    missing = [name for name in backends if not _is_installed(name)]
    if not missing:
        pytest.skip("every backend is installed here")
    env = {**os.environ, "KERAS_BACKEND": missing[0]}
    done = process("fit", file, "--x", "image", "--y", "label", env=env)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert f'pip install "penstock[{missing[0]}]"' in line


def _is_installed(module):
    return any(Path(sysconfig.get_path("purelib"), module).glob("__init__.py"))


def test_ctrl_c_is_exit_code_130(file, tmp_path):
    """Ctrl-C ends the training at once, in one line, and saves nothing."""
    out = tmp_path / "model.keras"
    arguments = ["fit", file, "--x", "image", "--y", "label", "--epochs", "100000", "--out", out]
    script = Path(sysconfig.get_path("scripts")) / "penstock"
    process = subprocess.Popen(
        [str(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("Epoch 2/"):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "penstock: interrupted\n"
    assert not list(tmp_path.glob("*.keras"))


def test_main_gives_the_code_instead_of_leaving(capsys):
    """`main` can be called from Python."""
    assert main([]) == 2

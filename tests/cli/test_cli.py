"""The command itself: help, version, exit codes, one line for an error."""

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import warnings
from pathlib import Path

import pytest

from headrace.cli import main


@pytest.mark.parametrize(
    "command", [(), ("fit",), ("info",), ("pack",), ("stats",), ("verify",), ("completion",)]
)
def test_help_goes_to_stdout_and_fits_the_terminal(capsys, monkeypatch, command):
    """Help is what was asked for: stdout, exit code 0, 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert not end.value.code
    text = capsys.readouterr().out
    assert text.startswith(" ".join(["usage: headrace", *command]))
    assert max(map(len, text.splitlines())) <= 80
    for code in (0, 1, 2):
        assert re.search(rf"^  {code}  +\w", text, re.MULTILINE) or command == ("completion",)


def test_version(process):
    """`--version` gives the installed version."""
    assert process("--version").stdout == f"headrace {importlib.metadata.version('headrace')}\n"


def test_help_imports_neither_keras_nor_a_backend():
    """The command starts quickly, and works where no backend is installed."""
    code = (
        "import json, sys\n"
        "from headrace.cli import main\n"
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
        (["train"], "no command 'train'"),
        (["inof"], "no command 'inof'. Did you mean info?"),
        (["-v"], "headrace --help"),
        (["fit"], "required: FILE"),
        (["fit", "{file}", "--epoch", "3"], "headrace fit has no option --epoch. Did you mean"),
        (["fit", "{file}", "--epoch=3"], "Did you mean --epochs? See: headrace fit --help"),
        (["fit", "{file}", "--zzz"], "no option --zzz. See: headrace fit --help"),
        (["fit", "{file}", "more.h5"], "Unexpected argument 'more.h5'"),
        (["pack", "{file}"], "See: headrace pack --help"),
        (["fit", "{file}", "--epochs", "0"], "expected 1 or more, received 0"),
        (["fit", "{file}", "--batch-size", "many"], "--batch-size"),
        (["fit", "{file}", "--seed", "-1"], "expected 0 to"),
        (["fit", "{file}", "--shuffle", "perhaps"], "'perhaps' is not a choice. Choose from: yes"),
        (["fit", "{file}", "--shuffle", "exat"], "Did you mean exact?"),
        (["fit", "{file}", "--memory", "much"], "Received: 'much'"),
        (["fit", "{file}", "--memory", "1kB", "--y", "label", "--x", "image"], "too little"),
        (["fit", "{file}", "--validation", "1.5", "--y", "label", "--x", "image"], "between 0"),
        (["fit", "{file}", "--end", "1", "--y", "label", "--x", "image"], "leaves"),
        (["fit", "{file}", "--y", "label"], "is x? Say it with --x."),
        (["fit", "{file}", "--x", "image", "--sample-weight", "weight"], "needs --y:"),
        (["fit", "{file}", "--x", "image", "--y", "label", "--stratify", "lable"], "'label'?"),
        (["fit", "{file}", "--x", "image", "--y", "label", "--split-by", "lable"], "'label'?"),
        (["pack", "{file}", "o.h5", "--x", "image", "--dtype", "imag=uint8"], "'image'?"),
        (["pack", "{file}", "o.h5", "--x", "image", "--seed", "1"], "--seed is about --shuffle."),
        (["pack", "{file}", "o.h5", "--x", "image", "--level", "9"], "or leave --level out"),
        (["pack", "{file}", "o.h5", "--x", "image", "--resume"], "give --shard-size as well"),
        (["pack", "{file}", __file__, "--x", "image"], "Say --overwrite to replace it"),
        (["pack", "{file}", "o.h5", "--x", "image", "--memory", "9"], "works here is --memory "),
        (["stats", "{file}", "--x", "image", "--memory", "9"], "works here is --memory "),
        (["verify", "{file}", "--memory", "9"], "works here is --memory "),
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
def test_wrong_use_is_one_line_and_exit_code_2(headrace, file, arguments, words):
    """Each mistake is named in one line on stderr, before any training."""
    code, out, err = headrace(*[argument.format(file=file) for argument in arguments])
    assert (code, out) == (2, "")
    assert err.startswith("headrace: error: ")
    assert err.count("\n") == 1
    assert words in err
    # Python's way to name an argument, but for calls that are written out.
    assert not re.search(r"\b[a-z_]+=(?!uint8)", re.sub(r"\([^()]*\)", "", err))


def test_python_runs_the_package(file):
    """`python -m headrace` is the command."""
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "inof"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("headrace: error: There is no command 'inof'.")


def test_warnings_are_plain_lines_in_the_words_of_the_command(headrace, file, tmp_path):
    """Those of Headrace speak of options; a function of the user's has its own words."""
    # As in a process of its own; here warnings are errors.
    warnings.simplefilter("default")
    (tmp_path / "mine.py").write_text(
        "import warnings\n"
        "def prepare(image):\n"
        "    warnings.warn('seed=3 is\\n odd', stacklevel=1)\n"
        "    return image\n"
    )
    arguments = ("pack", file, tmp_path / "o.h5", "--x", "image", "--map")
    code, _, err = headrace(*arguments, f"{tmp_path}/mine.py:prepare", "--quiet")
    assert code == 0
    assert set(err.splitlines()) == {"headrace: warning: seed=3 is odd"}
    few = ("--memory", "30kB", "--batch-size", "16", "--validation", "none", "--model", "no.keras")
    _, _, err = headrace("fit", file, "--x", "image", "--y", "label", *few)
    warning, error = err.splitlines()
    assert warning.startswith("headrace: warning: --shuffle yes mixes too little here")
    assert re.search(r"What helps: --memory \d+MB, or a file", warning)
    assert error.startswith("headrace: error: ")


def test_debug_shows_where(headrace):
    """`--debug` adds the traceback."""
    code, _, err = headrace("fit", "no.h5", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert "headrace: error: " in err.splitlines()[-1]


def test_failure_at_work_is_exit_code_1(headrace, file, tmp_path):
    """What goes wrong in the user's own function is a failure, and says whose."""
    (tmp_path / "broken.py").write_text("def build():\n    raise RuntimeError('out of\\n luck')\n")
    name = f"{tmp_path}/broken.py:build"
    code, _, err = headrace("fit", file, "--x", "image", "--y", "label", "--model", name)
    assert code == 1
    [line] = err.splitlines()
    assert line.startswith("headrace: error: RuntimeError: out of luck (raised by ")
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
    assert f'pip install "headrace[{missing[0]}]"' in line


def _is_installed(module):
    return any(Path(sysconfig.get_path("purelib"), module).glob("__init__.py"))


def test_ctrl_c_is_exit_code_130(file, tmp_path):
    """Ctrl-C ends the training at once, in one line, and saves nothing."""
    out = tmp_path / "model.keras"
    arguments = ["fit", file, "--x", "image", "--y", "label", "--epochs", "100000", "--out", out]
    script = Path(sysconfig.get_path("scripts")) / "headrace"
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
    assert err == "headrace: interrupted\n"
    assert not list(tmp_path.glob("*.keras"))


def test_main_gives_the_code_instead_of_leaving(capsys):
    """`main` can be called from Python."""
    assert main([]) == 2

"""`gpn explore`: JupyterLab with a notebook that holds the explorer."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from gpn.cli.long_run import TERMINATED, Ended
from theory.errors import UsageError

NAME = "gpn-explorer.ipynb"
_GRACE = 15.0  # seconds in which JupyterLab ends its kernels
_ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_NEEDED = ("jupyterlab", "ipywidgets")


class _ToldToEnd(Exception):
    """SIGTERM, or the terminal was closed."""


def explore(
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SPEC] [-- OPTIONS]",
            help="A name or a formula in x, also with a parameter, such as 'elu(alpha)'; then options of JupyterLab.",
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE.ipynb", help="Keep the notebook in this file, which must not exist yet."),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Open JupyterLab with the explorer: type a formula, move width, depth, tolerance and parameter.

    The notebook is made in a temporary folder, which is removed when JupyterLab ends (Ctrl-C twice); --save keeps it.
    What follows -- goes to JupyterLab. Without a display no browser is opened: open the address that JupyterLab prints.

    \b
    Examples:
      gpn explore
      gpn explore "leaky_relu(s)"
      gpn explore "x*sigmoid(beta*x)" --save swish.ipynb
      gpn explore gelu -- --port 8899
      gpn explore -- --ip 0.0.0.0 --port 8888       in a container
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"gpn explore needs {' and '.join(missing)}; install with: pip install 'gpn-theory[notebooks]'"
        )
    from gpn.report.explorer.model import family_of

    options = list(given or [])
    spec = "gelu" if not options or options[0].startswith("--") else options.pop(0)
    if options and not options[0].startswith("-"):
        raise UsageError(f"there is one SPEC, not {spec!r:.40} and {options[0]!r:.40}; put a formula in quotes")
    family_of(spec)  # a typing error is reported here, not in a browser
    options = [*_surroundings(browser), *options]
    if save is not None:
        raise typer.Exit(_open(_written(save, spec), options))
    with tempfile.TemporaryDirectory(prefix="gpn-explorer-") as folder:
        raise typer.Exit(_open(_written(Path(folder) / NAME, spec), options))


def _surroundings(browser: bool) -> list[str]:
    """Options of JupyterLab that follow from where it runs: the user root, as in a container, and a display."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    blind = sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return [*(["--allow-root"] if root else []), *(["--no-browser"] if blind or not browser else [])]


def notebook(spec: str) -> dict[str, Any]:
    """Return a notebook with the explorer in its one code cell.

    Args:
        spec: the activation or family that the explorer starts with.
    """
    text = "Run the cell below with Shift+Enter, then type a formula and move the sliders."
    words = {"cell_type": "markdown", "id": "words", "source": f"# Explore an activation\n\n{text}"}
    code = {"cell_type": "code", "id": "explorer", "source": f"import gpn\n\ngpn.explore({spec!r})"}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": [words | {"metadata": {}}, code | {"metadata": {}, "execution_count": None, "outputs": []}],
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _written(path: Path, spec: str) -> Path:
    if path.suffix != ".ipynb":
        raise UsageError(f"--save takes the name of a notebook, such as --save {path.stem or 'explorer'}.ipynb")
    try:
        with path.open("x") as file:  # never over a notebook of the user
            json.dump(notebook(spec), file, indent=1)
    except FileExistsError:
        raise UsageError(f"{path} exists; open it with: jupyter lab {path}, or name another file") from None
    except OSError as error:
        raise UsageError(f"cannot write {path} ({error.strerror}); name another file") from error
    return path


def _open(path: Path, options: list[str]) -> int:
    """Run JupyterLab until it ends; Ctrl-C is its own, since it asks before it stops.

    Raises:
        Ended: this process was asked to end; then JupyterLab has ended too.
    """
    command = [sys.executable, "-m", "jupyterlab", *options, path.name]
    print("gpn: in JupyterLab, run the first cell with Shift+Enter", file=sys.stderr, flush=True)
    if "--no-browser" in options:
        print("gpn: open the address that JupyterLab prints below in a browser", file=sys.stderr, flush=True)
    process, before = None, {number: signal.signal(number, _end) for number in _ENDINGS}
    try:
        process = subprocess.Popen(command, cwd=path.absolute().parent)
        before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
        return process.wait()
    except _ToldToEnd:
        raise Ended("terminated, and JupyterLab with it", TERMINATED) from None
    finally:
        for number in _ENDINGS:
            signal.signal(number, signal.SIG_IGN)
        if process is not None:
            _stop(process)
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, which may have ended before."""
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end(_number: int, _frame: FrameType | None) -> None:
    raise _ToldToEnd

"""`gpn explore`: JupyterLab with a notebook that holds the explorer."""

import json
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from theory.errors import UsageError

NAME = "gpn-explorer.ipynb"
_NEEDED = ("jupyterlab", "ipywidgets")


def explore(
    spec: Annotated[
        str, typer.Argument(metavar="SPEC", help="A name or a formula in x, also with a parameter: 'elu(alpha)'.")
    ] = "gelu",
    save: Annotated[
        Path | None, typer.Option(metavar="FILE.ipynb", help="Keep the notebook there; it must not exist yet.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Open JupyterLab with the explorer: type a formula, move width, depth, tolerance and parameter.

    The notebook is made in a temporary folder, which is removed when JupyterLab ends (Ctrl-C twice); --save keeps it.

    \b
    Examples:
      gpn explore
      gpn explore "leaky_relu(s)"
      gpn explore "x*sigmoid(beta*x)" --save swish.ipynb
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f"gpn explore needs {' and '.join(missing)}; install with: pip install 'gpn[notebooks]'")
    from gpn.report.explorer.model import family_of

    family_of(spec)  # a typing error is reported here, not in a browser
    if save is not None:
        raise typer.Exit(_open(_written(save, spec), browser=browser))
    with tempfile.TemporaryDirectory(prefix="gpn-explorer-") as folder:
        raise typer.Exit(_open(_written(Path(folder) / NAME, spec), browser=browser))


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
        with path.open("x") as file:  # never over a notebook that somebody has worked in
            json.dump(notebook(spec), file, indent=1)
    except FileExistsError:
        raise UsageError(f"{path} exists; open it with: jupyter lab {path}, or name another file") from None
    except OSError as error:
        raise UsageError(f"cannot write {path} ({error.strerror}); name another file") from error
    return path


def _open(path: Path, *, browser: bool) -> int:
    """Run JupyterLab until it ends; Ctrl-C is its own, since it asks before it stops."""
    command = [sys.executable, "-m", "jupyterlab", *([] if browser else ["--no-browser"]), path.name]
    print("gpn: in JupyterLab, run the first cell with Shift+Enter", file=sys.stderr, flush=True)
    process = subprocess.Popen(command, cwd=path.absolute().parent)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)

"""`gpn explore`: the explorer as a page of its own, which Voilà serves, or as a notebook in JupyterLab."""

import json
import os
import re
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
_PAGE, _LAB = "voila", "jupyterlab"
_CALLED = {_PAGE: "Voilà", _LAB: "JupyterLab"}
_IP = re.compile(r"^--ip(?==|$)")
_GRACE = 15.0  # seconds in which the server ends its kernels
_ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_INSTALL = "install with: pip install 'gpn-theory[notebooks]'"


class _ToldToEnd(Exception):
    """SIGTERM, or the terminal was closed."""


def explore(
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SPEC] [-- OPTIONS]",
            help="A name or a formula in x, also with a parameter, such as 'elu(alpha)'; then options of the server.",
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE.ipynb", help="Keep the notebook in this file, which must not exist yet."),
    ] = None,
    lab: Annotated[bool, typer.Option("--lab", help="Open the notebook in JupyterLab.")] = False,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Open the explorer in a browser: type a formula, move width, depth, tolerance and parameter.

    The explorer is a page of its own, which Voilà serves; --lab opens its notebook in JupyterLab. The address of the
    page holds the state of the controls, so that a view can be kept or sent. The notebook is made in a temporary
    folder, which is removed at the end (Ctrl-C; in JupyterLab twice); --save keeps it. What follows -- goes to the
    server. Without a display no browser is opened: open the address that the server prints.

    \b
    Examples:
      gpn explore
      gpn explore "leaky_relu(s)"
      gpn explore "x*sigmoid(beta*x)" --save swish.ipynb
      gpn explore gelu --lab
      gpn explore gelu -- --port 8899
      gpn explore -- --ip 0.0.0.0 --port 8888       in a container
    """
    server = _server(lab)
    from gpn.report.explorer.model import family_of

    options = list(given or [])
    spec = "gelu" if not options or options[0].startswith("--") else options.pop(0)
    if options and not options[0].startswith("-"):
        raise UsageError(f"there is one SPEC, not {spec!r:.40} and {options[0]!r:.40}; put a formula in quotes")
    family_of(spec)  # a typing error is reported here, not in a browser
    options = _options(server, browser, options)
    if save is not None:
        raise typer.Exit(_open(server, _written(save, spec, server), options))
    with tempfile.TemporaryDirectory(prefix="gpn-explorer-") as folder:
        raise typer.Exit(_open(server, _written(Path(folder) / NAME, spec, server), options))


def _server(lab: bool) -> str:
    """The module that serves the notebook: Voilà where it is installed and JupyterLab is not asked for.

    Raises:
        UsageError: neither is installed, or no widgets are.
    """
    if find_spec("ipywidgets") is None:
        raise UsageError(f"gpn explore needs ipywidgets; {_INSTALL}")
    if not lab and find_spec(_PAGE) is not None:
        return _PAGE
    if find_spec(_LAB) is None:
        raise UsageError(f"gpn explore needs {'JupyterLab' if lab else 'Voilà'}; {_INSTALL}")
    if not lab:
        print(
            f"gpn: without Voilà the explorer is a notebook in JupyterLab; for a page of its own {_INSTALL}",
            file=sys.stderr,
        )
    return _LAB


def _options(server: str, browser: bool, given: list[str]) -> list[str]:
    """Options of the server: what follows from where it runs, a container's root or no display, and those given."""
    root = server == _LAB and hasattr(os, "geteuid") and os.geteuid() == 0
    blind = sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    quiet = (blind or not browser) and "--no-browser" not in given
    options = [*(["--allow-root"] if root else []), *(["--no-browser"] if quiet else []), *given]
    if server == _PAGE:  # it has the options of JupyterLab but for these two
        options = [_IP.sub("--Voila.ip", option) for option in options if option != "--allow-root"]
    return options


def notebook(spec: str, server: str = _PAGE) -> dict[str, Any]:
    """Return a notebook with the explorer in its one code cell.

    Args:
        spec: the activation or family that the explorer starts with.
        server: the module that shows it; in JupyterLab the cell waits for its reader.
    """
    text = "Type a formula, then move the sliders."
    if server == _LAB:
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


def _written(path: Path, spec: str, server: str) -> Path:
    if path.suffix != ".ipynb":
        raise UsageError(f"--save takes the name of a notebook, such as --save {path.stem or 'explorer'}.ipynb")
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:  # never over a notebook of the user
            json.dump(notebook(spec, server), file, indent=1)
    except FileExistsError:
        raise UsageError(f"{path} exists; open it with: jupyter lab {path}, or name another file") from None
    except OSError as error:
        raise UsageError(f"cannot write {path} ({error.strerror}); name another file") from error
    return path


def _open(server: str, path: Path, options: list[str]) -> int:
    """Run the server until it ends; Ctrl-C is its own, since JupyterLab asks before it stops.

    Raises:
        Ended: this process was asked to end; then the server has ended too.
    """
    command = [sys.executable, "-m", server, *options, path.name]
    if server == _LAB:
        print("gpn: in JupyterLab, run the first cell with Shift+Enter", file=sys.stderr, flush=True)
    if "--no-browser" in options:
        print(f"gpn: open the address that {_CALLED[server]} prints below in a browser", file=sys.stderr, flush=True)
    process, before = None, {number: signal.signal(number, _end) for number in _ENDINGS}
    try:
        process = subprocess.Popen(command, cwd=path.absolute().parent)
        before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
        return process.wait()
    except _ToldToEnd:
        raise Ended(f"terminated, and {_CALLED[server]} with it", TERMINATED) from None
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

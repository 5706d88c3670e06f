"""Markers that follow from where a test stands, for `pytest -m quick`, `-m docs` and `-m cli`; processes of a run."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
NEEDS = {
    "torch": ("torch", "probing/libraries/torch_model", "probing/libraries/torch_functions"),
    "jax": ("jax", "probing/libraries/jax_model", "probing/libraries/jax_functions"),
}
collect_ignore = [f"gpn/{name}.py" for needed, names in NEEDS.items() if find_spec(needed) is None for name in names]
PLACES = {"docs": ("tests/docs", "notebooks"), "cli": ("tests/gpn/cli",)}


def pytest_configure() -> None:
    """Heed Ctrl-C where the shell has said to ignore it, as it does in the background: some tests send it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores: a sixth of the time tests wait for processes that they have started."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark pages and notebooks `docs`, the command line `cli`, and every doctest, one or more a module, `quick`."""
    for item in items:
        place = item.path.relative_to(ROOT)
        for marker, folders in PLACES.items():
            if any(place.is_relative_to(folder) for folder in folders):
                item.add_marker(marker)
        if isinstance(item, pytest.DoctestItem):
            item.add_marker("quick")

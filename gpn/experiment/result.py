"""How a result finds its views: one hook, by name, so that no computation imports presentation."""

from importlib import import_module
from typing import Any


def view(module: str, name: str) -> Any:
    """A function of `gpn.report` that shows a result; found when it is asked for."""
    return getattr(import_module(f"gpn.report.{module}"), name)

"""The commands: each reads its arguments, asks the library, and prints.

It imports every room below. Begin with `program`.
"""

from gpn.cli.program import main

__all__ = ["main"]

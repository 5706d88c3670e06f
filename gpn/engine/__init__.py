"""Dense networks, forward and backward, in NumPy alone.

It imports `theory.errors` and nothing else of the project. Begin with `network`.
"""

from gpn.engine.network import Network

__all__ = ["Network"]

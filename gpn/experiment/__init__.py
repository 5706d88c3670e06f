"""Monte Carlo with the same bits for any number of workers: cells, random streams, executors, the run store.

It imports `gpn.sampling` and below. Begin with `runs`.
"""

from gpn.experiment.runs import Cell, generator, run

__all__ = ["Cell", "generator", "run"]

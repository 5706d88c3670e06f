"""Exact confidence limits, limits that hold at any time, sample sizes, evidence and verdicts.

It imports `theory.errors`. Begin with `limits`.
"""

from gpn.statistics.limits import Verdict

__all__ = ["Verdict"]

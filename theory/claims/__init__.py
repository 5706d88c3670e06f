"""Every statement as data: assumptions, formula, rigor, proof page, function and test.

It imports `theory.errors` alone; functions and tests are named by text. Begin with `claim`.
"""

from theory.claims.claim import Claim
from theory.claims.registry import CLAIMS, claim, claims_of_bound, page

__all__ = ["CLAIMS", "Claim", "claim", "claims_of_bound", "page"]

"""The deep bound for Gaussian weights of variance 1/n: means over one normal variable, verifier, search.

The search need not be trusted; the verifier must be. It imports `theory.depth` and below, and shares certificate and
Lemma E with `theory.bounds`, whose doors lead here. Begin with `verifier`.
"""

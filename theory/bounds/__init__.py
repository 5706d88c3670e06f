"""Bounds on the gradients of all layers at once: a certificate, the search for it, and the verifier.

The search need not be trusted; the verifier must be. It imports `theory.depth` and below. Begin with `deep`.
"""

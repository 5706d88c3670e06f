"""Numerical verification of bidirectionally self-normalizing networks."""

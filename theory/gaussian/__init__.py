"""Expectations E f(z) for z ~ N(0, 1): in float64, to many digits, certified, in closed form, by Hermite series.

It imports `theory.activations` and below. Begin with `moments`.
"""

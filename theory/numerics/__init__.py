"""Computation with float64 arrays and with many digits, for any function: nothing here knows what an activation is.

It imports no other room. Begin with `arithmetic.compile_expressions`; quadrature is in `quadrature`, the numerical
search for kinks and jumps in `survey`.
"""

"""Numerical ground: special functions, arithmetic of expressions, quadrature, panels.

It imports nothing of the project but `theory.errors`. Begin with `arithmetic` and `special`.
"""

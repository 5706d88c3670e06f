"""Numbers with proved radii, and proved bounds of growth for large |x|.

It imports `theory.numerics`. Begin with `program.Program`, which runs an expression in any of the `arithmetics`; the
record of each function is in `functions`.
"""

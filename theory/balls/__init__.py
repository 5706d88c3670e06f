"""Numbers with proved radii: ball arithmetic over expressions, and growth envelopes of functions.

It imports `theory.numerics`. Begin with `core`, then `program`.
"""

"""The laws of orthogonal networks sampled without matrices, any width at the price of its vectors.

It imports `gpn.engine` and `theory`; the core is NumPy alone. Begin with `sampler`, then `passes`.
"""

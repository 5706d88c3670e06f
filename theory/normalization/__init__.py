"""Is an activation Gaussian-Poincaré normalized, and which a, b make it so? Lipschitz constants and families too.

It imports `theory.gaussian` and below. Begin with `conditions`, then `normalize`.
"""

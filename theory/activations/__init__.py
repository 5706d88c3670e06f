"""What an activation is: a formula, a catalog entry or a function of the user, cut into smooth pieces.

It imports `theory.balls` and `theory.numerics`. Begin with `activation`, then `adapters.activation`, the one door.
"""

"""What an activation is: a formula, a catalog entry or a function of the user, cut into smooth pieces.

It imports `theory.balls` and `theory.numerics`. Begin with `specification.activation`, the one function that reads
every form of an activation, then `activation.Activation`.
"""

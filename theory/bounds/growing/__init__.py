"""The upper side of the deep bound where the bracket of Lemma A costs much: growing activations at small depth.

A second search, slower than `theory.bounds.chains` and sharper; what it proposes is judged by `theory.bounds.verifier`.
It imports `theory.depth` and below. Begin with `upper`; `cones` chooses functions by linear programs.
"""

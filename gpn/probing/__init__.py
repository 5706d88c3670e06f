"""Your own network beside the theory: gains of its activation, famous constants.

It imports `gpn.experiment` and below. Begin with `gain`; `constants` finds what a number is.
"""

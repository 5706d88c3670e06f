"""Your own network beside the theory: gains of its activation, famous constants, norms while it trains.

It imports `gpn.experiment` and below. Begin with `gain`; `constants` finds what a number is, `monitor` records a
training.
"""

"""Your own network beside the theory: its layers, the gains of its activation, famous constants, norms while it trains.

It imports `gpn.experiment` and below; PyTorch and JAX in `libraries` alone. Begin with `probe`, then `tape`, the form
in which every library hands over what its model did. `gain` and `constants` are about one activation, `monitor` records
a training.
"""

"""Train deep networks as classifiers, with gradient norms recorded.

It imports `gpn.experiment` and below. Begin with `train`.
"""

"""The paper's experiments: gradient norms at initialization, and training.

It imports `gpn.training` and below. Begin with `reproduce`.
"""

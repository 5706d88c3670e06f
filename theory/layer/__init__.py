"""One layer of finite width: exact laws, tails and the bounds of Lévy and Cramér.

It imports `theory.normalization` and below. Begin with `law`, then `tails`.
"""

"""Models of PyTorch and JAX on tape.

Each module imports its library, `gpn.probing.tape` and below, and is imported when a model of that library is given.
Begin with `torch_model`.
"""

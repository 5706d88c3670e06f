"""The deep bound proved in ball arithmetic: certificates as files, and a small checker that trusts nothing else.

`checker`, `means`, `inequalities` and `formula` import python-flint and Python's library only. `writing` turns what the
search found into such a file; it imports the rooms that `theory.bounds` does. Begin with `checker`.
"""

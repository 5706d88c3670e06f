"""Questions about one activation: check, normalize, audit of published constants, export to frameworks.

It imports `theory` and below. Begin with `check`.
"""

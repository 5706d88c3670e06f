"""Does the theorem hold, and how wide must a network be?

It imports `gpn.experiment` and below. Begin with `verify`, then `questions` and `plan`.
"""

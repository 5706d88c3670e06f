"""The explorer of Jupyter: sliders move an activation, a width, a depth and a tolerance.

`model` turns the state of the controls into numbers, `requested` computes what takes seconds, `figure` and `text` show
both, `widget` holds the controls, `address` writes their state as a link. The room imports words and plots.
Begin with `model`.
"""

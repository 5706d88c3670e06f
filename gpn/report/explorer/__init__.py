"""The explorer of Jupyter: sliders move an activation, a width, a depth and a tolerance.

`model` turns the state of the controls into numbers, `figure` and `text` show them, `widget` holds the controls. The
room imports words and plots. Begin with `model`.
"""

"""The explorer of Jupyter: a model, a figure, text and widgets."""

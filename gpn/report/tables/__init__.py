"""Answers in the terminal: text and tables of each report.

`columns` holds the specification of a table that the terminal and the HTML page share. The room imports
`gpn.report.words`. Begin with `width`, the shortest.
"""

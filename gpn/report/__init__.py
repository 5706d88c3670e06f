"""What people see of a result. No computation imports this room; it may import all rooms but the command line.

Words (sentences, numbers as text) < tables, plots < pages, explorer < views. Begin with `views`: it maps each result
to its headline, tables, figures and page, and `gpn.experiment.result` finds it by name.
"""

"""What people see: words < tables, plots < pages, explorer. No computation imports it.

Begin with `words`.
"""

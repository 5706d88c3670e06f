"""Report pages: HTML files that need no other file.

`page` builds elements, tables and documents, `pictures` names the figures of each report with their captions, the
other modules compose the pages. The room imports words, tables and plots. Begin with `numbers`, the shortest page.
"""

"""Sentences, captions and numbers as text, for every view.

`text` writes numbers and names, `findings` and `paper_findings` the sentences of titles, `captions` those below
figures, `commands` the commands to repeat or to run next; `selection` picks the rows they are about and `terminal`
prints. The room imports results and theory, nothing else of `gpn.report`. Begin with `findings`.
"""

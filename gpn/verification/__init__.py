"""Does the theorem hold, and how wide must a network be?

It imports `gpn.experiment` and below. Begin with `verify`: there `settings` are read at the door, `questions` state
what theory says, each by one of the `kinds`, `plan` decides how each is answered, `rounds` runs the plan within its
`resources`, and `evaluation` makes the report. `width` solves for the width, the depth or the tolerance.
"""

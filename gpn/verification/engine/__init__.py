"""Does the engine that makes the evidence obey the exact laws of a deep network, whatever the theorem says?

It imports `gpn.experiment` and below, and the rows of `gpn.verification.results`. Begin with `rows`: `cells` say which
networks are tested, `trace` holds their vectors, `identities`, `coins` and `growth` are the tests.
"""

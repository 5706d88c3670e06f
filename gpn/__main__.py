"""`python -m gpn` is the command `gpn`."""

from gpn.cli.program import main

if __name__ == "__main__":
    main()

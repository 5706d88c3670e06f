"""`python -m gpn` is the command `gpn`."""

from gpn.cli import main

if __name__ == "__main__":
    main()

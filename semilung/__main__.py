"""`python -m semilung` is the `semilung` command."""

from semilung.cli import main

if __name__ == "__main__":
    main()

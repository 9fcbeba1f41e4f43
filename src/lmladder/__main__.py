"""The command `lmladder`, as `python -m lmladder`."""

from lmladder.cli.main import main

if __name__ == "__main__":
    main()

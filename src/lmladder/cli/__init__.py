"""The `lmladder` command, one module a command, with its options and what it does.

`main.py` joins them, `arguments.py` has what several of them ask for. Commands only connect: they
open a checkpoint, call the library, and print or write. All but the options is imported on use, so
that help and completion are immediate.
"""

"""The lowest layer: errors, files, locks, signals, settings, random streams, pinned arithmetic.

No module here depends on what a language model is.
"""

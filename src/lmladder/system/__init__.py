"""What everything else stands on: errors, files, locks, signals, random streams, pinned arithmetic.

Nothing here knows what a language model is.
"""

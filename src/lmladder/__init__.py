"""lmladder: a ladder of language models on one text, from counts to a Transformer, in NumPy."""

from lmladder.system import runtime

runtime.pin()  # before anything imports NumPy

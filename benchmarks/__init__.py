"""Programs that measure time and memory; none of them is part of the library.

Each runs as `python benchmarks/NAME.py`. What they share is in `measure.py` (processes, memory,
tables), `shapes.py` (the sizes of model that are timed, their arithmetic counted) and `engines/`
(the same model in lmladder, PyTorch and JAX).

lmladder pins threads and malloc for its whole process, and must do so before NumPy is imported.
So what is shared imports neither, and the process of a peer does not import lmladder.
"""

"""What costs how much: programs that measure, none of them part of the library.

Each runs as `python benchmarks/NAME.py`. What they share is in `measure.py` (processes, memory,
tables), `shapes.py` (the sizes of model that are timed, their arithmetic counted) and `engines/`
(the same model in lmladder, PyTorch and JAX).

lmladder pins threads and malloc for its whole process, and wants to do so before NumPy is there. So
what is shared imports neither, and a peer's process never sees lmladder.
"""

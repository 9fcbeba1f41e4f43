"""Recording the calls that a function makes on arrays, and repeating them without the function.

`trace` records one execution of a function: its NumPy calls, and calls of compiled functions by
`run`. `plan` decides which arrays share memory, and creates programs that repeat the calls. They
compute the same bits and allocate almost no memory. Nothing here uses kernels, ops or Tensors.
"""

from lmladder.tracing.plan import Plan, Program
from lmladder.tracing.trace import Trace, asarray, constant, current, plain, run

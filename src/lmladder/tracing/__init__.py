"""Recording the calls that a function makes on arrays, and repeating them without the function.

`trace` follows a function once: plain NumPy code, and compiled functions where `run` calls them.
`plan` decides which arrays may share memory, and makes programs that repeat the calls: they return
the same bits, and allocate next to nothing. Nothing here knows kernels, ops or Tensors.
"""

from lmladder.tracing.plan import Plan, Program
from lmladder.tracing.trace import Trace, asarray, constant, current, plain, run

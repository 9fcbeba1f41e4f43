"""Arrays in, arrays out: the arithmetic under the hot ops. Nothing here knows of Tensors.

`reference` holds each kernel in plain NumPy, for the rows it is given. `blocks` cuts rows into
blocks that fit a cache and shares the blocks among threads. This module joins the two; the blocks
depend on shapes alone, so the results do not depend on the number of threads.
"""

from lmladder.kernels.blocks import as_rows, matmul, over_rows, set_threads, share, threads
from lmladder.kernels.reference import scatter_rows
from lmladder.kernels.threaded import (
    attention,
    attention_backward,
    cross_entropy,
    cross_entropy_backward,
    gelu,
    gelu_backward,
    gelu_tanh,
    gelu_tanh_backward,
    layer_norm,
    layer_norm_backward,
    rms_norm,
    rms_norm_backward,
    softmax,
)

"""The arithmetic of the ops that take most of the time, on arrays; nothing here uses Tensors.

`reference` has each kernel in plain NumPy, for a block of rows; `fused` has the same ones compiled.
`blocks` cuts rows into blocks and shares them among threads, and `threaded` combines these. Blocks
depend on shapes only, so the results do not depend on the number of threads.
"""

from lmladder.kernels.blocks import (
    apply_to_row_blocks,
    as_rows,
    linear_backward,
    matmul,
    no_partitioning,
    parallel_for,
    set_threads,
    sum_into,
    threads,
)
from lmladder.kernels.indices import gather_rows, pad_front
from lmladder.kernels.threaded import (
    CHOICES,
    adam,
    attention,
    attention_backward,
    cached_attention,
    cached_convolution,
    causal_convolution,
    causal_convolution_backward,
    cross_entropy,
    cross_entropy_backward,
    cut,
    describe,
    dropout,
    gelu,
    gelu_backward,
    gelu_tanh,
    gelu_tanh_backward,
    layer_norm,
    layer_norm_backward,
    linear_row,
    relu_squared,
    relu_squared_backward,
    rms_norm,
    rms_norm_backward,
    rotary,
    rotary_backward,
    scatter_rows,
    select,
    selected,
    softmax,
    square_sums,
)

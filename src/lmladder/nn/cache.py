"""What a layer stores of the positions that it has read, for decoding."""

from typing import Any

from lmladder.autograd import Tensor
from lmladder.system.arrays import IntArray

import numpy as np


class Cache:
    """Arrays whose first axis is that of the sequences.

    Attributes
    ----------
    arrays : Tensors, which a captured function may write
    """

    def __init__(self, *shapes: tuple[int, ...], dtype: np.dtype[Any] | None = None):
        self.arrays = [Tensor(np.empty(shape, dtype)) for shape in shapes]

    def select(self, sequences: IntArray) -> None:
        """Make sequence i a copy of sequence sequences[i]; the arrays stay if the count does."""
        for each in self.arrays:
            if len(sequences) == len(each):
                each.value[...] = each.value[sequences]
            else:
                each.value = each.value[sequences]

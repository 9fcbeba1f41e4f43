"""Layers, one concept per module.

A layer is its constructor, which creates the parameters from a random generator, and its call.
"""

from lmladder.nn.activation import ACTIVATIONS
from lmladder.nn.attention import CausalSelfAttention, KeyValueCache
from lmladder.nn.cache import Cache
from lmladder.nn.convolution import CausalConvolution, NoConvolution
from lmladder.nn.dropout import dropout
from lmladder.nn.embedding import Embedding, NgramEmbedding
from lmladder.nn.linear import Linear
from lmladder.nn.module import Module, parameter
from lmladder.nn.norm import NORMS, LayerNorm, NoNorm, Norm, RmsNorm
from lmladder.nn.pointer import Pointer

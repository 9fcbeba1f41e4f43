"""Layers, one concept a file. A layer is its constructor and its call; randomness is handed in."""

from lmladder.nn.activation import ACTIVATIONS, plan_activation
from lmladder.nn.attention import CausalSelfAttention, KeyValueCache
from lmladder.nn.dropout import dropout
from lmladder.nn.embedding import Embedding
from lmladder.nn.linear import Linear
from lmladder.nn.module import Calls, Module, parameter
from lmladder.nn.norm import LayerNorm, RmsNorm

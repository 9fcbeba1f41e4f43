"""Layers, one concept a file. A layer is its constructor and its call; randomness is handed in."""

from lmladder.nn.activation import ACTIVATIONS
from lmladder.nn.attention import CausalSelfAttention, KeyValueCache
from lmladder.nn.dropout import dropout
from lmladder.nn.embedding import Embedding
from lmladder.nn.linear import Linear
from lmladder.nn.module import Module, parameter
from lmladder.nn.norm import NORMS, LayerNorm, NoNorm, Norm, RmsNorm
from lmladder.nn.position import POSITIONS, sinusoidal
from lmladder.nn.recurrent import RECURRENT, GruLayer, RnnLayer

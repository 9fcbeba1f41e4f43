"""Text from a model: strategies that choose a token, and the loop that asks for the next one."""

from lmladder.sampling.generation import generate
from lmladder.sampling.strategies import Strategy

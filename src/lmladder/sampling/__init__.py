"""Text from a model, by one loop for all models.

`strategies.py` chooses a token from probabilities, `continuation.py` stores what has been added and
determines when it is finished, and `generation.py` combines them, or searches instead.
"""

from lmladder.sampling.continuation import Continuation
from lmladder.sampling.generation import BeamSearch, complete, generate
from lmladder.sampling.strategies import SampleSettings, Strategy

"""Text from a model, by one loop for all models.

`strategies.py` chooses a token from probabilities, and `generation.py` generates with it.
`continuation.py` stores what has been added and determines when it is finished; `completion.py`
combines them, and searches instead.
"""

from lmladder.sampling.completion import BeamSearch, complete
from lmladder.sampling.continuation import Continuation
from lmladder.sampling.generation import generate
from lmladder.sampling.strategies import SampleSettings, Strategy

"""Text from a model: one loop for all of them.

`strategies.py` chooses a token from probabilities and `generation.py` asks for the next one;
`beam.py` searches instead. `continuation.py` keeps what has been added and its text, and says when
it is over; `completion.py` puts them together.
"""

from lmladder.sampling.beam import BeamSearch
from lmladder.sampling.completion import complete
from lmladder.sampling.continuation import Continuation, Transcript
from lmladder.sampling.generation import generate
from lmladder.sampling.strategies import Strategy

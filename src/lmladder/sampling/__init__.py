"""Text from a model, by one loop for all models.

`strategies.py` chooses a token from probabilities, `generation.py` generates with it, and `beam.py`
searches instead. `continuation.py` stores what has been added and determines when it is finished;
`completion.py` combines them.
"""

from typing import TYPE_CHECKING

from lmladder.system.lazy import lazy_exports

if TYPE_CHECKING:
    from lmladder.sampling.beam import BeamSearch
    from lmladder.sampling.completion import complete
    from lmladder.sampling.continuation import Continuation
    from lmladder.sampling.generation import generate
    from lmladder.sampling.strategies import Strategy
else:
    __getattr__ = lazy_exports(__name__, __file__)

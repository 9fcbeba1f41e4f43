"""How well a model predicts a text, exactly and comparably. The protocol stands in exact.py.

Beside scores: what a model makes of each token of some rows (predictions.py), how that depends on
the tokens before it (context.py), and whether it is as sure as it is right (calibration.py).
"""

from lmladder.scoring.blocks import BLOCK_NATS, BlockNats, block_starts
from lmladder.scoring.calibration import BINS, Reliability
from lmladder.scoring.context import ContextLosses, context_ranges
from lmladder.scoring.exact import Score, score, token_nats
from lmladder.scoring.predictions import Predictions, predict

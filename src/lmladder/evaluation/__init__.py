"""How well a model predicts a text, exactly and comparably; `exact.py` describes the protocol.

Besides scores: what a model predicts of each token of some sequences (predictions.py), how that
depends on the preceding tokens (context.py), whether it is calibrated (calibration.py), and how far
it is from the truth, where that is known (truth.py). records.py stores scores in scores.json.
"""

from lmladder.evaluation.blocks import block_starts
from lmladder.evaluation.calibration import BINS, Reliability
from lmladder.evaluation.context import ContextLosses, context_ranges
from lmladder.evaluation.exact import Score, token_nll
from lmladder.evaluation.ladder import predict_models, reliability_of, score_models, split_nll
from lmladder.evaluation.predictions import predict
from lmladder.evaluation.records import Record, ScoredModel, Scores, read_record

"""How well a model predicts a text, exactly and comparably. The protocol stands in exact.py."""

from lmladder.scoring.blocks import BLOCK_NATS, BlockNats, block_starts
from lmladder.scoring.exact import Score, score, token_nats

"""The stages of the pipeline: what their scripts in `stages/` are made of."""

from lmladder.config import Config
from lmladder.pipeline.entry import stage
from lmladder.pipeline.results import save_results
from lmladder.pipeline.rungs import rung_named
from lmladder.pipeline.text import open_text, prepare_text

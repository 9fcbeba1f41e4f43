"""Names in a picture hide neither one another nor what they name."""

from lmladder.reports.figures.labels import _apart

import numpy as np
import pytest


def test_labels_of_close_lines_keep_their_distance_and_their_order():
    wanted = [-0.02, 0.0, 0.01, 0.3, 0.31, 0.9]
    places = _apart(wanted, 0.05)
    assert (np.diff(places) >= 0.05 - 1e-12).all()
    assert places[0] >= 0
    assert places[-1] == pytest.approx(0.9)
    assert places[3:5] == pytest.approx([0.28, 0.33])

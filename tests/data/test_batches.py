from lmladder.data.batches import get_batch, sequence_starts, validation_sequences

import numpy as np
import pytest


def batch(tokens, batch_size, length, step=0, seed=0):
    return get_batch(tokens, batch_size=batch_size, length=length, step=step, seed=seed)


def test_sequences_of_a_batch_are_consecutive_tokens(tmp_path):
    tokens = np.arange(1000, dtype=np.uint16)
    sequences = batch(tokens, 50, 7)
    assert (sequences.shape, sequences.dtype) == ((50, 7), np.int64)
    assert (np.diff(sequences, axis=1) == 1).all()
    np.save(tmp_path / "tokens.npy", tokens)
    mapped = batch(np.load(tmp_path / "tokens.npy", mmap_mode="r"), 50, 7)
    assert type(mapped) is np.ndarray
    np.testing.assert_array_equal(mapped, sequences)
    assert batch(np.array([4, 5, 6]), 2, 3).tolist() == [[4, 5, 6]] * 2


def test_an_epoch_predicts_each_token_once_from_another_place_and_in_another_order():
    tokens = np.arange(1017)  # 100 sequences that predict 10 tokens
    epochs = [
        np.concatenate([batch(tokens, 4, 11, step) for step in range(25 * e, 25 * (e + 1))])
        for e in range(99)
    ]
    for sequences in epochs:
        predicted = np.sort(sequences[:, 1:].ravel())
        assert len(sequences) * 10 == len(np.unique(predicted)) == np.ptp(predicted) + 1
    assert {int(each.min()) for each in epochs} == set(range(17))
    assert len({tuple(each[:, 0] // 10) for each in epochs}) == len(epochs)


def test_a_batch_depends_on_step_and_seed_and_may_be_longer_than_an_epoch():
    tokens = np.arange(100)
    large = batch(tokens, 25, 11)
    assert len(set(large[:8, 0].tolist())) == 8
    np.testing.assert_array_equal(large, batch(tokens, 25, 11))
    assert (large != batch(tokens, 25, 11, step=1)).any()
    assert (large != batch(tokens, 25, 11, seed=1)).any()
    assert set(batch(np.arange(5), 200, 3)[:, 0].tolist()) == {0, 1, 2}


def test_validation_sequences_are_spread_over_the_whole_text():
    val = np.arange(100, dtype=np.uint8)
    sequences = validation_sequences(val, 10, 45)
    assert (sequences.shape, sequences.dtype) == ((4, 11), np.int64)
    assert sequences[:, 0].tolist() == sequence_starts(100, 10, 45).tolist() == [0, 29, 59, 89]
    assert (np.diff(sequences, axis=1) == 1).all()
    assert validation_sequences(val[:11], 10, 1).tolist() == [list(range(11))]


def test_a_text_shorter_than_a_sequence_is_rejected():
    for count in (0, 9):
        with pytest.raises(ValueError, match="high <= 0"):
            batch(np.zeros(count, np.uint8), 1, 10)
        with pytest.raises(IndexError):
            validation_sequences(np.zeros(count, np.uint8), 10, 1)

"""Copies of recordings are noticed, whole or in part, in whatever float format; recordings of their own are not."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from brain2clip.responses import same_samples
from brain2clip.responses.same_samples import Recordings, RowDigests
from brain2clip.stage import InputError


def samples(seed: int, rows: int = 3000, columns: int = 8) -> np.ndarray:
    return 1e-5 * np.random.default_rng(seed).standard_normal((rows, columns))


def sketch(values: np.ndarray, parts: int = 1) -> np.ndarray:
    digests = RowDigests(len(values))
    for part in np.array_split(values, parts, axis=1):
        digests.add(part)
    return digests.sketch()


def of(**given: np.ndarray) -> Recordings:
    return Recordings.of([(name, sketch(values)) for name, values in given.items()])


A, B = samples(1), samples(2)
COARSE = [np.round(3e6 * samples(seed, 20000, 1)) for seed in (1, 2)]
PADDING = np.zeros((2000, 8))


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        pytest.param(A, A.copy(), 1.0, id="copy"),
        pytest.param(A, A.astype(np.float32), 1.0, id="single-precision"),
        pytest.param(A, np.concatenate([B, A]), 1.0, id="run-within-a-longer-one"),
        pytest.param(A[:1000], A, 1.0, id="first-samples"),
        pytest.param(np.concatenate([A, B]), np.concatenate([samples(3), A]), 0.5, id="half-shared"),
        pytest.param(samples(1, 30, 200), samples(1, 30, 200)[::-1], 1.0, id="trials-in-another-order"),
        pytest.param(samples(1, 3, 2), samples(1, 3, 2), 1.0, id="three-rows"),
    ],
)
def test_shared_samples_are_found(one, other, share):
    ((first, second, found),) = same_samples.shared(of(x=one, middle=samples(9, len(one), one.shape[1]), y=other))
    assert (first, second) == ("x", "y")
    assert found == pytest.approx(share, abs=0.12)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(A, B, id="noise"),
        pytest.param(np.concatenate([A, PADDING]), np.concatenate([B, PADDING]), id="padded"),
        pytest.param(PADDING, PADDING, id="nothing-recorded"),
        pytest.param(A, A[:, ::-1], id="other-order-of-columns"),
        pytest.param(
            np.round(3e6 * samples(1, 20000, 1)), np.round(3e6 * samples(2, 20000, 1)), id="one-coarse-channel"
        ),
        pytest.param(np.concatenate([A, B[:100]]), np.concatenate([samples(3), B[:100]]), id="a-few-in-common"),
        pytest.param(A[:0], A[:0], id="empty"),
    ],
)
def test_recordings_of_their_own_are_left_alone(one, other):
    assert same_samples.shared(of(x=one, y=other)) == []


def test_columns_may_come_in_parts_and_rows_from_anywhere():
    digests = RowDigests(len(A) + len(B))
    digests.add(np.concatenate([B, A]))
    np.testing.assert_array_equal(digests.sketch(np.arange(len(B), len(A) + len(B))), sketch(A, parts=3))


def test_what_is_said_and_done(caplog):
    with pytest.raises(
        InputError, match=r"study s: run-1 and run-3 hold the same samples \(100% .*1 such pair among 3"
    ):
        same_samples.refuse_equal(of(**{"run-1": A, "run-2": B, "run-3": A}), "study s")
    allowed = of(**{"run-1": A, "run-2": A}).allow()
    same_samples.refuse_equal(allowed, "study s")
    assert "used nevertheless" in caplog.text


def test_files_keep_them_and_one_name_is_one_recording(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        of(one=A, two=B).write(file)
    with h5py.File(tmp_path / "x.h5") as file:
        read = Recordings.read(file)
    assert same_samples.shared(same_samples.together([read, read])) == []
    ((*names, _),) = same_samples.shared(same_samples.together([read, of(copy=B)]))
    assert names == ["two", "copy"]


@pytest.mark.parametrize("columns", [1, 8, 100])
def test_rows_at_a_time_do_not_matter(columns, monkeypatch):
    values = samples(4, 1000, columns)
    whole = sketch(values)
    monkeypatch.setattr(same_samples, "ROWS_AT_ONCE", 7)
    np.testing.assert_array_equal(sketch(values), whole)

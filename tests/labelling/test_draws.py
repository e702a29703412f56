"""What is drawn to be labelled stands for all segments, with known probabilities."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ser_batch.errors import UsageError
from ser_batch.labelling.clips import read_clip
from ser_batch.labelling.draws import (
    OF_A_RECORDING,
    inclusion,
    random_numbers,
    sizes,
    teaching_order,
)
from ser_batch.labelling.folder import open_labelling
from ser_batch.labelling.starting import draw_more, start_labelling
from tests.support.labels import CALLS, SEGMENTS, labelled, write_calls


def frame(recordings: int, each: int) -> pd.DataFrame:
    n = recordings * each
    return pd.DataFrame(
        {
            "recording_id": np.repeat([f"r{i}" for i in range(recordings)], each),
            "channel": 1,
            "speaker": pd.array([None] * n, "Int16"),
            "role": "customer",
            "start_s": np.tile(np.arange(each, dtype=float), recordings),
        }
    )


@given(
    arrays(float, st.integers(1, 40), elements=st.floats(0.01, 10)), st.integers(1, 50)
)
def test_inclusion_probabilities_are_at_most_one_and_sum_to_the_sample(own, n):
    probability = inclusion(own, n)
    assert probability.max() <= 1 + 1e-12
    assert probability.sum() == pytest.approx(min(n, len(own)))


def test_rare_labels_are_drawn_more_often_than_common_ones():
    predicted = np.array([0] * 90 + [1] * 10)
    probability = inclusion(
        sizes(pd.Series(["customer"] * 100), predicted, np.arange(100) % 10 / 10), 20
    )
    assert probability[predicted == 1].mean() > 2 * probability[predicted == 0].mean()


def test_every_random_number_is_uniform_over_seeds_and_spread_within_a_recording():
    own = frame(3, 8)
    drawn = np.array(
        [
            random_numbers(own, np.zeros(24, int), np.arange(24.0), seed)
            for seed in range(400)
        ]
    )
    assert drawn.mean(axis=0) == pytest.approx(0.5, abs=0.06)
    assert drawn.std(axis=0) == pytest.approx(12**-0.5, abs=0.03)
    # Eight numbers of one recording lie an eighth apart.
    gaps = np.diff(np.sort(drawn[:, :8], axis=1), axis=1)
    assert gaps == pytest.approx(1 / 8)


def test_weighted_figures_of_the_random_sample_are_those_of_all_segments():
    rng = np.random.default_rng(0)
    own = frame(40, 10)
    predicted, confidence = rng.integers(0, 3, 400), rng.random(400)
    is_right = rng.random(400) < np.where(predicted == 0, 0.8, 0.3)
    size, found = sizes(own.role, predicted, confidence), []
    for seed in range(300):
        order = np.argsort(random_numbers(own, predicted, confidence, seed) / size)
        weight = 1 / inclusion(size, 60)[order[:60]]
        found.append((weight * is_right[order[:60]]).sum() / weight.sum())
    # The mean of 300 samples of 60 lies within 4 of its standard errors.
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(is_right.mean(), abs=4 * error)


def test_uncertain_and_inconsistent_segments_teach_most_and_few_of_each_recording():
    own = frame(2, 5)
    p = np.tile([0.9, 0.1], (10, 1))
    p[3] = 0.5, 0.5
    p[7] = 0.1, 0.9
    order = teaching_order(own, p)
    assert set(order[:2]) == {3, 7}
    assert len(order) == 2 * OF_A_RECORDING


def test_half_is_drawn_at_random_and_half_where_a_label_teaches_most(tmp_path):
    labelling = labelled(tmp_path, 30)
    own = labelling.segments
    assert (len(own), labelling.is_random.sum()) == (30, 15)
    assert set(own.role) == {"customer"}
    assert labelling.record.population == CALLS * SEGMENTS


def test_the_same_seed_draws_the_same_clips(tmp_path):
    results = write_calls(tmp_path)
    drawn = [
        start_labelling(results, tmp_path / name, 20, seed).labelling.segments
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    pd.testing.assert_frame_equal(drawn[0], drawn[1])
    assert set(drawn[0]["clip"]) != set(drawn[2]["clip"])


def test_more_can_be_drawn_until_all_are_and_no_clip_twice(tmp_path):
    labelling = labelled(tmp_path, 30)
    first = list(labelling.segments["clip"])
    more = draw_more(tmp_path / "out", labelling.folder, 50)
    own = open_labelling(labelling.folder)
    assert more.new == 50
    assert list(own.segments["clip"])[:30] == first
    assert own.segments["clip"].is_unique
    # The random sample is the beginning of that of a single, larger draw.
    n = 2 * int(own.is_random.sum())
    single = start_labelling(tmp_path / "out", tmp_path / "single", n).labelling
    assert set(own.segments["clip"][own.is_random]) <= set(
        single.segments["clip"][single.is_random]
    )
    draw_more(tmp_path / "out", labelling.folder, 1000)
    own = open_labelling(labelling.folder)
    assert len(own.segments) == CALLS * SEGMENTS
    with pytest.raises(UsageError, match="all 120 segments are drawn"):
        draw_more(tmp_path / "out", labelling.folder, 1)


def test_a_larger_sample_counts_only_once_all_of_it_is_answered(tmp_path):
    labelling = labelled(tmp_path, 30)
    first = labelling.inclusion(set())
    draw_more(tmp_path / "out", labelling.folder, 40)
    own = open_labelling(labelling.folder)
    clips = own.segments["clip"]
    # Clips that teach most are in the larger sample; of those answered, all are.
    some = own.inclusion(set(clips[:30]))
    assert np.array_equal(some[:30], first, equal_nan=True)
    assert np.isnan(some[30:]).all()
    every = own.inclusion(set(clips))
    assert (~np.isnan(every) == own.is_random).all()
    assert own.is_random.sum() > (~np.isnan(first)).sum()


def test_a_draw_that_was_interrupted_is_taken_up_again(tmp_path):
    labelling = labelled(tmp_path, 10)
    names = set(labelling.segments["clip"])
    (labelling.folder / "labelling.json").unlink()
    (labelling.folder / "segments.parquet").unlink()
    again = start_labelling(tmp_path / "out", labelling.folder, 10).labelling
    assert set(again.segments["clip"]) == names


def test_a_clip_is_the_customers_channel_with_a_second_on_either_side(tmp_path):
    labelling = labelled(tmp_path, 10)
    for row in labelling.segments.to_dict("records"):
        waveform, rate = read_clip(labelling.clip_file(row["clip"]))
        start_s = max(row["start_s"] - 1, 0)
        assert row["clip_start_s"] == start_s
        end_s = min(row["end_s"] + 1, 3 * SEGMENTS)
        assert len(waveform) == round((end_s - start_s) * rate)
        assert waveform[[0, -1]] == pytest.approx(
            [start_s / 100, (end_s - 1 / rate) / 100], abs=1e-3
        )


def test_recordings_that_are_gone_are_named_and_the_others_drawn(tmp_path):
    results = write_calls(tmp_path)
    (tmp_path / "in" / "003.wav").unlink()
    started = start_labelling(results, tmp_path / "labels", 100)
    assert list(started.problems) == ["003.wav"]
    assert "003.wav" not in set(started.labelling.segments.path)
    for path in (tmp_path / "in").iterdir():
        path.unlink()
    with pytest.raises(UsageError, match="ser relocate"):
        start_labelling(results, tmp_path / "others", 10)


def test_paths_and_ids_are_hashed_on_request(tmp_path):
    results, key = write_calls(tmp_path), tmp_path / "key"
    plain = start_labelling(results, tmp_path / "plain", 10).labelling
    folder = tmp_path / "hashed"
    hashed = start_labelling(results, folder, 10, key_file=key).labelling
    assert list(hashed.segments.start_s) == list(plain.segments.start_s)
    assert not set(hashed.segments.recording_id) & set(plain.segments.recording_id)
    # Nor can names of clips be guessed from those of recordings.
    assert not set(hashed.segments["clip"]) & set(plain.segments["clip"])
    assert str(tmp_path) not in (folder / "labelling.json").read_text()
    assert not any("wav" in path for path in hashed.segments.path)
    for other in (None, tmp_path / "another key"):
        with pytest.raises(UsageError, match="another key"):
            draw_more(results, folder, 5, other)
    with pytest.raises(UsageError, match="without --hash-paths"):
        draw_more(results, tmp_path / "plain", 5, key)
    assert draw_more(results, folder, 5, key).new == 5


def test_an_existing_folder_is_never_overwritten(tmp_path):
    labelling = labelled(tmp_path, 10)
    with pytest.raises(UsageError, match="--more N"):
        start_labelling(tmp_path / "out", labelling.folder, 10)
    with pytest.raises(UsageError, match="not an empty folder"):
        start_labelling(tmp_path / "out", tmp_path / "in", 10)


@pytest.mark.parametrize("damage", ["{", '{"format": 1}', '{"format": 9}'])
def test_a_damaged_folder_is_refused_by_name(tmp_path, damage):
    labelling = labelled(tmp_path, 10)
    (labelling.folder / "labelling.json").write_text(damage)
    with pytest.raises(UsageError, match=str(labelling.folder)):
        open_labelling(labelling.folder)

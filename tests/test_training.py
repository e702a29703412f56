"""Training: readers, splits, augmentation, loss, exact resume, and a bundle at the end."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_batch.bundles import load_bundle
from ser_batch.errors import CorpusError, UsageError
from ser_batch.features import MfccConfig
from ser_batch.training import augmentation as aug
from ser_batch.training.build import train_bundle
from ser_batch.training.corpora import LABELS, RAVDESS_FOLDS, Clip, Corpus, read_corpora
from ser_batch.training.data import BalancedBatches, Utterance, Utterances, collate
from ser_batch.training.fit import TrainConfig, cross_entropy, fit_network
from ser_batch.training.metrics import answered, calibration_error, confusion, macro_f1, recalls, uar
from ser_batch.training.split import split_speakers
from tests.conftest import EXAMPLES, ser

RATE = 8000


def clip(path: Path, seed: int, extension: str = ".wav") -> None:
    """A short noise, written under the path's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 0.1, RATE // 2)
    soundfile.write(path.with_name(path.name + extension), noise, RATE)


@pytest.fixture(scope="session")
def corpora(tmp_path_factory) -> Path:
    """A few clips of each corpus, in its publisher's layout."""
    root = tmp_path_factory.mktemp("corpora")
    seed = 0
    for actor in (2, 3, 5, 6, 8, 17, 10):
        for emotion in range(1, 9):
            seed += 1
            clip(root / "ravdess" / f"Actor_{actor:02}" / f"03-01-{emotion:02}-01-01-01-{actor:02}", seed)
        clip(root / "ravdess" / f"Actor_{actor:02}" / f"03-02-01-01-01-01-{actor:02}", seed)  # a song
    for speaker in ("OAF", "YAF"):
        for emotion in ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad"):
            seed += 1
            clip(root / "tess" / f"{speaker}_{emotion}" / f"{speaker}_back_{emotion}", seed)
    clip(root / "tess" / "OAF_neutral" / "OA_bite_neutral", seed)
    lines = ["file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage"]
    for number, speaker in enumerate(("AB0", "CD0", "EF0", "GH0", "IJ0")):
        for emotion in ("anger", "fear", "happiness", "neutral", "sadness", "surprised"):
            seed += 1
            lines.append(f"{speaker}_{emotion}_1.wav\t{emotion}\tx\tx\t{speaker}\t{'fe' * (number % 2)}male\t30")
            clip(root / "nemo" / "samples" / f"{speaker}_{emotion}_1", seed, ".flac")
    (root / "nemo" / "data.tsv").write_text("\n".join(lines) + "\n")
    return root


def specs(root: Path) -> list[str]:
    return [f"{name}={root / name}" for name in ("ravdess", "tess", "nemo")]


def test_readers_know_speakers_and_the_labels_that_each_corpus_has(corpora):
    ravdess, tess, nemo = read_corpora(specs(corpora))
    assert (len(ravdess.clips), len(tess.clips), len(nemo.clips)) == (56, 15, 30)
    assert ravdess.labels == LABELS
    assert set(LABELS) - set(tess.labels) == {"calm"}
    assert set(LABELS) - set(nemo.labels) == {"calm", "disgust"}
    assert tess.speakers == ("tess/OAF", "tess/YAF")
    assert {c.speaker: c.sex for c in ravdess.clips}["ravdess/08"] == "f"
    assert {c.speaker: c.sex for c in nemo.clips}["nemo/AB0"] == "m"
    surprised = next(c for c in tess.clips if c.path.stem.endswith("_ps"))
    assert surprised.label == "surprised"


def test_a_clip_that_is_there_twice_counts_once(corpora, tmp_path):
    clip(tmp_path / "Actor_02" / "03-01-01-01-01-01-02", 1)
    clip(tmp_path / "audio_speech_actors_01-24" / "Actor_02" / "03-01-01-01-01-01-02", 1)
    assert len(read_corpora([f"ravdess={tmp_path}"])[0].clips) == 1


def test_what_is_no_such_corpus_is_refused_with_the_reason(corpora, tmp_path):
    (tmp_path / "empty").mkdir()
    clip(tmp_path / "bad" / "OAF_back_bored", 0)
    clip(tmp_path / "odd" / "03-01-09-01-01-01-02", 0)
    (tmp_path / "nemo").mkdir()
    (tmp_path / "nemo" / "data.tsv").write_text("file_id\temotion\tspeaker_id\tgender\nx.wav\tanger\tAB0\tmale\n")
    for spec, message in (
        ("crema=x", "NAME of ravdess"),
        ("ravdess", "NAME=DIR"),
        (f"ravdess={tmp_path / 'empty'}", "no clip of RAVDESS"),
        (f"tess={tmp_path / 'bad'}", "named OAF_word_emotion"),
        (f"ravdess={tmp_path / 'odd'}", "emotion 09"),
        (f"nemo={tmp_path / 'empty'}", "data.tsv"),
        (f"nemo={tmp_path / 'nemo'}", "1 of the clips in data.tsv are missing, x.wav"),
    ):
        with pytest.raises(CorpusError, match=message):
            read_corpora([spec])
    with pytest.raises(CorpusError, match="given twice"):
        read_corpora([specs(corpora)[0]] * 2)


@given(st.integers(5, 30), st.integers(0, 10**6))
@settings(max_examples=50)
def test_no_speaker_is_in_two_parts_and_no_clip_is_lost(n_speakers, seed):
    clips = tuple(
        Clip(Path(f"{s}-{i}"), "x", f"x/{s}", "fm"[s % 2], "sad") for s in range(n_speakers) for i in range(3)
    )
    split = split_speakers([Corpus("x", "X", "free", clips)], 1, seed)
    parts = split.speakers()
    everyone = [speaker for part in parts.values() for speaker in part]
    assert len(everyone) == len(set(everyone)) == n_speakers
    assert all(parts.values())
    assert sorted(map(str, (c.path for part in (split.train, split.validation, split.test) for c in part))) == sorted(
        str(c.path) for c in clips
    )


def test_ravdess_is_tested_on_its_published_folds_and_two_speakers_only_train(corpora):
    read = read_corpora(specs(corpora))
    for fold in (1, 2, 4):
        parts = split_speakers(read, fold, 0).speakers()
        there = {f"ravdess/{actor:02}" for actor in RAVDESS_FOLDS[fold - 1]} & set(read[0].speakers)
        assert {s for s in parts["test"] if s.startswith("ravdess")} == there
        assert {"tess/OAF", "tess/YAF"} <= set(parts["train"])
    with pytest.raises(CorpusError, match="no speaker of fold 5"):
        split_speakers(read, 5, 0)
    with pytest.raises(CorpusError, match="folds 1 to 5, not 6"):
        split_speakers(read, 6, 0)
    with pytest.raises(CorpusError, match="no speaker is left"):
        split_speakers(read[1:2], 1, 0)


def tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def pitch_hz(wave: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(np.argmax(spectrum) * RATE / len(wave))


def level_db(wave: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(wave**2)))


def test_speed_changes_length_and_pitch_together_and_pitch_alone_keeps_the_length():
    fast = aug.change_speed(tone(400), 1.1)
    assert len(fast) == pytest.approx(RATE / 1.1, abs=2)
    assert pitch_hz(fast) == pytest.approx(440, abs=3)
    high = aug.shift_pitch(tone(400), 2.0)
    assert len(high) == RATE
    assert pitch_hz(high[1000:-1000]) == pytest.approx(400 * 2 ** (2 / 12), abs=8)


@given(st.floats(-5, 40), st.floats(0, 2))
@settings(max_examples=20, deadline=None)
def test_noise_lies_as_far_below_the_voice_as_was_asked(snr_db, colour):
    wave = tone(300)
    noise = aug.coloured_noise(len(wave), colour, np.random.default_rng(0))
    assert level_db(wave) - level_db(aug.add_noise(wave, noise, snr_db) - wave) == pytest.approx(snr_db, abs=0.1)


def test_noise_is_coloured_as_its_exponent_says():
    noise = aug.coloured_noise(2**16, 1.0, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(noise)) ** 2
    low, high = power[100:200].mean(), power[10_000:20_000].mean()
    assert 10 * np.log10(low / high) == pytest.approx(20, abs=1.5)  # a hundred times the frequency: 20 dB


def test_a_band_keeps_its_middle_and_loses_its_outside():
    for hz, loss_db in ((1000, 0), (60, 40), (3950, 40)):
        lost = level_db(tone(hz)) - level_db(aug.band_limit(tone(hz), RATE, 300, 3400)[2000:])
        assert (lost < 1) if not loss_db else (lost > 10), hz


@pytest.mark.parametrize(("codec", "snr_db"), [("ULAW", 30), ("ALAW", 30), ("GSM610", 5)])
def test_codecs_leave_a_voice_that_is_coded_and_recognisable(codec, snr_db):
    wave = tone(500) + 0.3 * tone(1100)
    coded = aug.through_codec(wave, RATE, codec)
    assert len(coded) == len(wave)
    error = level_db(coded - wave)
    assert level_db(wave) - error > snr_db
    assert error > -90  # it did pass through a codec


def test_a_room_decays_by_60_db_in_its_time():
    click = np.zeros(RATE, np.float32)
    click[0] = 1
    tail = aug.reverberate(click, RATE, 0.4, np.random.default_rng(0))
    early, late = level_db(tail[80:400]), level_db(tail[1680:2000])
    assert early - late == pytest.approx(60 * 0.2 / 0.4, abs=5)


def test_a_peak_is_set_and_clipped_at_full_scale():
    assert np.abs(aug.set_peak(tone(300), -20)).max() == pytest.approx(0.1, rel=0.01)
    assert np.abs(aug.set_peak(tone(300), 6)).max() == 1
    assert not aug.set_peak(np.zeros(10, np.float32), -10).any()


@given(st.integers(0, 10**6), st.integers(400, 20_000))
@settings(max_examples=40, deadline=None)
def test_a_telephone_gives_finite_float32_and_the_same_for_the_same_seed(seed, n):
    wave = np.random.default_rng(1).normal(0, 0.1, n).astype(np.float32)
    telephone = aug.Telephone(aug.AugmentationConfig(), RATE, [tone(50)])
    one, two = (telephone(wave, np.random.default_rng(seed)) for _ in range(2))
    assert one.dtype == np.float32
    assert np.isfinite(one).all()
    assert np.array_equal(one, two)
    assert 0.85 * n < len(one) < 1.15 * n + 2


def test_with_one_right_answer_the_loss_is_the_usual_cross_entropy():
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 8), torch.tensor([0, 1, 2, 3, 4, 5])
    for smoothing in (0.0, 0.1):
        expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        right = torch.nn.functional.one_hot(labels, 8).bool()
        torch.testing.assert_close(cross_entropy(logits, right, smoothing), expected)


def test_where_two_answers_are_right_neither_is_taught_over_the_other():
    logits = torch.tensor([[0.3, -0.2, 1.0, 0.0]], requires_grad=True)
    right = torch.tensor([[True, True, False, False]])
    loss = cross_entropy(logits, right, 0.0)
    p = logits.softmax(-1)[0]
    assert loss.item() == pytest.approx(-float((p[0] + p[1]).log()))
    [gradient] = torch.autograd.grad(loss, logits)
    # Both rise in proportion to what they have: their odds are left as they are.
    assert float(gradient[0, 0] / gradient[0, 1]) == pytest.approx(float(p[0] / p[1]), rel=1e-4)


def test_only_a_corpus_without_calm_leaves_open_what_its_neutral_is(utterances):
    data = sets(utterances)[0]
    truth, right = data.truth()
    for utterance, label, row in zip(data.utterances, truth, right, strict=True):
        ambiguous = utterance.clip.corpus == "two" and utterance.clip.label == "neutral"
        expected = ["neutral", "calm"] if ambiguous else [utterance.clip.label]
        assert [LABELS[i] for i in np.flatnonzero(row)] == expected
        assert LABELS[label] == utterance.clip.label
    batch = collate([data[i, None] for i in range(8)])
    assert np.array_equal(batch.right, right[:8])


def test_an_answer_that_is_right_too_counts_as_the_true_one():
    right = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], bool)
    assert answered(np.array([0, 0, 2]), right, np.array([1, 2, 1])).tolist() == [0, 2, 1]


def test_figures_equal_their_definitions_on_a_hand_made_table():
    truth, predicted = np.array([0, 0, 0, 0, 1, 1, 2]), np.array([0, 0, 0, 1, 1, 2, 0])
    matrix = confusion(truth, predicted, 4)
    assert matrix.tolist() == [[3, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert recalls(matrix)[:3].tolist() == [0.75, 0.5, 0]
    assert np.isnan(recalls(matrix)[3])
    assert uar(matrix) == pytest.approx((0.75 + 0.5) / 3)
    assert macro_f1(matrix) == pytest.approx((6 / 8 + 2 / 4 + 0) / 3)


def test_a_perfect_forecaster_has_no_calibration_error_and_a_boaster_has():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], 50_000)
    truth = np.array([rng.choice(3, p=row) for row in p])
    assert calibration_error(p.argmax(axis=1) == truth, p.max(axis=1)) < 0.01
    assert calibration_error(np.arange(1000) % 2 == 0, np.full(1000, 0.95)) == pytest.approx(0.45, abs=0.01)


@pytest.fixture(scope="session")
def utterances() -> list[Utterance]:
    """Noises whose colour tells their label, of two corpora."""
    rng = np.random.default_rng(0)
    result = []
    for i in range(60):
        kind = i % 3
        label = LABELS.index(("neutral", "happy", "sad")[kind])
        wave = aug.coloured_noise(int(rng.integers(3000, 6000)), float(kind), rng)
        corpus = "one" if i % 2 else "two"
        result.append(
            Utterance(Clip(Path(str(i)), corpus, f"s{i % 7}", "f", LABELS[label]), wave, 300, len(wave) - 300)
        )
    return result


def sets(utterances: list[Utterance]) -> tuple[Utterances, Utterances]:
    telephone = aug.Telephone(aug.AugmentationConfig(codec_p=0.1), RATE)
    known = {"one": LABELS, "two": ("neutral", "happy", "sad")}
    return tuple(Utterances(part, LABELS, known, telephone) for part in (utterances[:45], utterances[45:]))  # type: ignore[return-value]


SMALL = TrainConfig(
    features=MfccConfig(n_mels=32, n_mfcc=13),
    conv_channels=(16, 16),
    lstm_width=8,
    samples_per_epoch=64,
    batch_size=16,
    max_epochs=6,
    warm_up_epochs=1,
    learning_rate=5e-3,
    average_decay=0.8,
)


class Killed(Exception):
    """The process dies here."""


def fitted(utterances, checkpoint: Path, die_after: int | None = None, data: dict | None = None):
    def on_epoch(row):
        if row["epoch"] == die_after:
            raise Killed

    train_set, validation = sets(utterances)
    return fit_network(
        SMALL,
        train_set,
        validation,
        8,
        torch.device("cpu"),
        0,
        checkpoint,
        data or {},
        lambda batches, n: batches,
        on_epoch,
    )


def test_a_training_that_was_killed_ends_as_one_that_was_not(utterances, tmp_path):
    _, undisturbed, history = fitted(utterances, tmp_path / "a.pt")
    for epoch in (1, 3):
        with pytest.raises(Killed):
            fitted(utterances, tmp_path / "b.pt", die_after=epoch)
    _, resumed, again = fitted(utterances, tmp_path / "b.pt")
    assert again == history
    for name, tensor in undisturbed.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_training_learns_what_can_be_learnt(utterances, tmp_path):
    history = fitted(utterances, tmp_path / "x.pt")[2]
    assert history[-1]["loss"] < history[0]["loss"]
    assert max(row["validation_uar_clean"] for row in history) > 0.6


def test_a_checkpoint_of_other_options_is_refused(utterances, tmp_path):
    with pytest.raises(Killed):
        fitted(utterances, tmp_path / "x.pt", die_after=1)
    other = dataclasses.replace(SMALL, learning_rate=1.0)
    with pytest.raises(UsageError, match="belongs to other options or data"):
        fitted(utterances, tmp_path / "x.pt", data={"train": "other clips"})
    with pytest.raises(UsageError, match="belongs to other options or data"):
        fit_network(
            other, *sets(utterances), 8, torch.device("cpu"), 0, tmp_path / "x.pt", {}, lambda b, n: b, lambda row: None
        )


def test_an_epoch_draws_corpora_by_weight_and_labels_alike(utterances):
    batches = BalancedBatches(utterances, {"one": 3.0, "two": 1.0}, 8000, 32, 0, 0)
    drawn = [utterances[index].clip for batch in batches for index, _ in batch]
    assert len(drawn) == 8000
    assert np.mean([c.corpus == "one" for c in drawn]) == pytest.approx(0.75, abs=0.02)
    for label in ("neutral", "happy", "sad"):
        assert np.mean([c.label == label for c in drawn]) == pytest.approx(1 / 3, abs=0.02)
    again = BalancedBatches(utterances, {"one": 3.0, "two": 1.0}, 8000, 32, 0, 0)
    assert list(again) == list(batches)


def test_a_batch_holds_every_waveform_and_its_length(utterances):
    data = sets(utterances)[0]
    batch = collate([data[i, None] for i in range(5)])
    for i in range(5):
        n = int(batch.lengths[i])
        assert np.array_equal(batch.waveforms[i, :n], data.utterances[i].speech)
        assert not batch.waveforms[i, n:].any()


def test_a_bundle_that_was_trained_is_used_by_its_path(corpora, tmp_path, monkeypatch):
    config = dataclasses.replace(SMALL, max_epochs=2, test_fold=4)
    said: list[str] = []
    metrics = train_bundle(
        specs(corpora), tmp_path / "mine", config, quiet=True, workers=0, device="cpu", say=said.append
    )
    assert len(said) == 2
    assert not (tmp_path / "mine" / "checkpoint.pt").exists()
    assert set(metrics["test"]) == {"ravdess", "nemo"}
    for conditions in metrics["test"].values():
        assert set(conditions) == {"clean", "g711", "gsm", "noise=10dB"}
        assert all(0 <= m["uar"] <= 1 and m["clips"] > 0 for m in conditions.values())
    assert json.loads((tmp_path / "mine" / "metrics.json").read_text())["test"].keys() == metrics["test"].keys()
    bundle = load_bundle(str(tmp_path / "mine"))
    assert bundle.labels == LABELS
    assert "non-commercial" in bundle.licence
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "CC BY-NC-SA 4.0" in card
    assert f"{metrics['test']['ravdess']['gsm']['uar']:.1%}" in card
    said_ = ser("predict", EXAMPLES / "delivery" / "2002.wav", "--bundle", tmp_path / "mine", "--json")
    assert said_.returncode == 0
    assert set(json.loads(said_.stdout)["probabilities"]) == set(LABELS)


def test_the_same_seed_gives_the_same_bundle(corpora, tmp_path):
    config = dataclasses.replace(SMALL, max_epochs=1)
    for name in ("a", "b"):
        train_bundle(
            specs(corpora)[:1],
            tmp_path / name / "x",
            config,
            quiet=True,
            workers=0,
            device="cpu",
            say=lambda text: None,
        )
    a, b = (load_bundle(str(tmp_path / name / "x")) for name in "ab")
    assert a.model_id == b.model_id

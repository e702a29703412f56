"""Training on many places: draws, renderings, bundles, and resuming."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_batch.config.structuring import from_plain
from ser_batch.emotion.bundles import load_bundle
from ser_batch.emotion.frontend import N_VALUES, Frontend
from ser_batch.emotion.place import statistics_of, summaries
from ser_batch.emotion.profiled_network import ProfiledNetworkConfig
from ser_batch.errors import ConfigError, UsageError
from ser_batch.training.corpora.labels import LABELS
from ser_batch.training.corpora.readers import read_corpora
from ser_batch.training.evaluation.evaluating import evaluate_bundle
from ser_batch.training.places import fitting, preparing
from ser_batch.training.places.bank import open_bank
from ser_batch.training.places.building import train_on_places
from ser_batch.training.places.draws import Drawable, draw
from ser_batch.training.places.holdout import leave_corpora_out
from ser_batch.training.places.leaving_out import LeftOut, four_label_figures
from ser_batch.training.places.preparing import PlacesOptions
from ser_batch.training.places.renderings import (
    CLEAN,
    RENDERINGS,
    TELEPHONE,
    coloured_noise,
    mu_law,
    rendered,
)
from ser_batch.training.places.segments import cut_corpora
from ser_batch.training.places.spectral import augmented, cropped
from ser_batch.training.places.stored_segments import FULL_SCALE, open_segments
from ser_batch.training.places_recipe import (
    DrawsConfig,
    PlacesFitConfig,
    PlacesRecipe,
    SpectralConfig,
)
from tests.support.commands import ser

RATE = 8000
SMALL = PlacesRecipe(
    "small.",
    network=ProfiledNetworkConfig((4, 4, 4, 4), 4, 8, 4, 0.0),
    draws=DrawsConfig(groups=2, clips=4, place_clips=3, sample=(2, 5)),
    fit=PlacesFitConfig(steps=4, crop_frames=20),
)


def drawable(rng: np.random.Generator, n: int = 400) -> Drawable:
    corpus = np.sort(rng.choice(["a", "b", "c"], n))
    kind = rng.choice(["neutral", "angry", "sad"], n, p=[0.2, 0.7, 0.1])
    return Drawable(
        corpus,
        rng.choice(["x", "y", "z"], n),
        np.arange(n) // 2,
        kind,
        kind == "neutral",
    )


@given(
    st.integers(0, 2**32 - 1), st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)
)
@settings(max_examples=25, deadline=None)
def test_groups_are_drawn_from_one_corpus_and_steps_from_several(seed, neutral):
    segments = drawable(np.random.default_rng(seed % 7))
    config = DrawsConfig(
        groups=2, clips=4, place_clips=3, sample=(2, 9), neutral_share=tuple(neutral)
    )
    draws = draw(segments, config, 20, seed)
    again = draw(segments, config, 20, seed)
    assert all(
        (a == b).all()
        for a, b in zip(vars(draws).values(), vars(again).values(), strict=True)
    )
    for step in range(20):
        groups = [set(segments.corpus[own]) for own in draws.segment[step]]
        assert [len(names) for names in groups] == [1, 1]
        assert groups[0] != groups[1]
        for own, names in zip(draws.sample[step], groups, strict=True):
            assert set(segments.corpus[own]) == names
    np.testing.assert_allclose(draws.sample_weight.sum(-1), 1, rtol=1e-5)
    assert ((draws.share >= 0) & (draws.share <= 1)).all()
    assert set(draws.rendering.flat) <= {*CLEAN, *TELEPHONE}


def test_labels_are_balanced_and_places_have_the_given_neutral_share():
    segments = drawable(np.random.default_rng(0))
    config = DrawsConfig(groups=1, clips=30, place_clips=30, neutral_share=(0.85, 0.85))
    draws = draw(segments, config, 200, 0)
    heard = segments.kind[draws.segment[..., :30]]
    shares = [(heard == kind).mean() for kind in ("neutral", "angry", "sad")]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.03)
    for own in (draws.segment[..., 30:], draws.sample):
        assert (segments.kind[own] == "neutral").mean() == pytest.approx(0.85, abs=0.02)


@pytest.mark.parametrize("rendering", RENDERINGS, ids=lambda r: r.name)
def test_a_rendering_simulates_one_place_with_the_stated_noise_level(rendering):
    t = torch.arange(2 * RATE) / RATE
    speech = 0.3 * torch.sin(2 * torch.pi * 600 * t)[None].repeat(6, 1)
    lengths = torch.tensor([2 * RATE] * 5 + [RATE])
    speech[5, RATE:] = 0
    torch.manual_seed(0)
    heard = rendered(speech, lengths, rendering, np.random.default_rng(0))
    assert heard.shape == speech.shape
    assert not heard[5, RATE:].any()
    if rendering.snr_db is None:
        assert torch.equal(heard, speech)
        return
    spectrum = torch.fft.rfft(heard[:5] * torch.hann_window(2 * RATE)).abs().square()
    tone = spectrum[:, 1190:1211].sum(1)
    snr_db = 10 * torch.log10(tone / (spectrum.sum(1) - tone))
    low, high = rendering.snr_db
    # Mu-law quantisation and reverberation add to the noise.
    assert (snr_db > min(low, 12) - (8 if rendering.in_room else 3)).all()
    assert (snr_db < high + 3).all()
    peaks = heard.abs().amax(1)
    assert len({round(float(p), 3) for p in peaks}) > 3


def test_noise_has_the_given_colour_and_mu_law_keeps_eight_bits():
    torch.manual_seed(0)
    noise = coloured_noise(1 << 15, torch.tensor([[0.0], [1.0], [2.0]]))
    np.testing.assert_allclose(noise.std(1), 1, rtol=1e-3)
    power = torch.fft.rfft(noise).abs().square()
    ratio_db = 10 * torch.log10(
        power[:, 1500:2500].mean(1) / power[:, 6000:10000].mean(1)
    )
    np.testing.assert_allclose(ratio_db, [0, 6, 12], atol=0.6)
    x = torch.linspace(-1.2, 1.2, 5001)
    assert len(mu_law(x).unique()) <= 256
    assert (mu_law(x) - x.clamp(-1, 1)).abs().max() < 0.03


def test_a_crop_with_a_random_tempo_stays_within_its_segment():
    bank = torch.arange(300.0)[:, None].expand(300, N_VALUES).contiguous()
    torch.manual_seed(1)
    first, count = torch.tensor([0, 100, 250]), torch.tensor([100, 150, 8])
    frames, true = cropped(bank, first, count, 40, 0.2)
    for own, n, start, length in zip(frames, true, first, count, strict=True):
        assert own[:n].min() >= start
        assert own[:n].max() <= start + length - 1
        assert (own[: n - 1].diff(dim=0) > 0.75).all()
    assert true.tolist()[:2] == [40, 40]
    assert true[2] <= 10
    plain, _ = cropped(bank, first[:1], torch.tensor([40]), 40, 0.0)
    assert torch.equal(plain[0], bank[:40])


def test_zero_augmentation_changes_nothing_and_masks_hide_stretches():
    torch.manual_seed(0)
    frames = torch.randn(3, 50, N_VALUES)
    nothing = SpectralConfig(0, 0, 0, 0, 0, (0, 0))
    torch.testing.assert_close(augmented(frames, nothing), frames, atol=1e-4, rtol=1e-4)
    masked = augmented(frames, dataclasses.replace(nothing, masks=(2, 1)))
    changed = (masked - frames).abs() > 1e-3
    assert changed.any()
    assert not changed[..., 64:].any()
    assert changed.float().mean() < 0.6


@pytest.fixture(scope="module")
def two(corpora) -> list[str]:
    """Return two small corpora, and a third with levels instead of emotions."""
    return [f"{name}={corpora / name}" for name in ("emovo", "nemo", "baved")]


def test_segments_are_cached_until_a_clip_changes(two, tmp_path, monkeypatch):
    read = read_corpora(two)
    cut = cut_corpora(read)
    open_segments(tmp_path, read)
    with monkeypatch.context() as patched:
        patched.setattr("ser_batch.training.places.stored_segments.cut_corpora", None)
        kept = open_segments(tmp_path, read)
    assert (kept.clips, kept.notes, kept.fingerprint) == (
        cut.clips,
        cut.notes,
        cut.fingerprint,
    )
    assert (kept.clip == cut.clip).all()
    assert (kept.n_samples == cut.n_samples).all()
    assert len(kept.waveforms) == len(cut.waveforms)
    for own, before in zip(kept.waveforms, cut.waveforms, strict=True):
        assert np.abs(own - before).max() <= 1 / FULL_SCALE
    clip = read[0].clips[0]
    other = dataclasses.replace(clip, label="sad" if clip.label != "sad" else "angry")
    changed = dataclasses.replace(read[0], clips=(other, *read[0].clips[1:]))
    assert open_segments(tmp_path, [changed, *read[1:]]).clips[0].label == other.label


def test_the_bank_contains_the_frontend_features_and_is_made_once(
    two, tmp_path, monkeypatch
):
    segments = cut_corpora(read_corpora(two))
    assert len(segments.clips) == len(segments.clip) == 50

    def batches(rows, name):
        return rows

    bank = open_bank(tmp_path, segments, [], batches)
    frontend = Frontend()
    for row in (0, 17, 49):
        wave = torch.from_numpy(segments.waveforms[row])[None]
        frames, count = frontend(wave, torch.tensor([wave.shape[1]]))
        start, n = int(bank.first[row]), int(bank.count[row])
        assert n == int(count)
        torch.testing.assert_close(
            bank.features[start : start + n].float(), frames[0], atol=5e-3, rtol=5e-3
        )
        torch.testing.assert_close(
            bank.summary[0, row], summaries(frames, count)[0], atol=1e-2, rtol=1e-2
        )
    usual = bank.usual([np.arange(10)])
    halves = [
        torch.stack(
            [statistics_of(bank.summary[r, :10].mean(0)).mean for r in kinds]
        ).mean(0)
        for kinds in (CLEAN, TELEPHONE)
    ]
    torch.testing.assert_close(usual.mean, sum(halves) / 2)
    monkeypatch.setattr("ser_batch.training.places.bank._fill", None)
    again = open_bank(tmp_path, segments, [], batches)
    assert torch.equal(again.features, bank.features)


def options(two, out: Path, recipe: PlacesRecipe = SMALL) -> PlacesOptions:
    return PlacesOptions(tuple(two), out, "small", recipe, device="cpu", quiet=True)


def test_training_writes_a_fully_documented_bundle(two, tmp_path):
    recipe = dataclasses.replace(
        SMALL, network=dataclasses.replace(SMALL.network, members=2)
    )
    metrics = train_on_places(options(two, tmp_path / "x", recipe), lambda text: None)
    bundle = load_bundle(str(tmp_path / "x"))
    assert bundle.model_id == metrics["model_id"]
    assert bundle.labels == tuple(label for label in LABELS if label != "calm")
    assert bundle.network.members == 2
    assert bundle.calibration.usual_distance[0] < bundle.calibration.usual_distance[1]
    kept = json.loads((tmp_path / "x" / "metrics.json").read_text())
    assert from_plain(PlacesRecipe, kept["config"]) == recipe
    card = (tmp_path / "x" / "README.md").read_text()
    for said in ("BAVED", "CC BY 4.0", "nEMO", "Not tested on unseen corpora"):
        assert said in card
    assert not (tmp_path / "x" / ".training").exists()


def test_a_resumed_training_gives_the_same_bundle(two, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "STATE_STEPS", 2)
    whole = train_on_places(options(two, tmp_path / "a" / "x"), lambda text: None)

    class Stopped(Exception):
        pass

    def stopping(bank, data, use, recipe, seed, device, checkpoint, on_step):
        def stop_at_three(step, loss):
            if step == 3:
                raise Stopped

        return fitting.fit_network_to_places(
            bank, data, use, recipe, seed, device, checkpoint, stop_at_three
        )

    monkeypatch.setattr(preparing, "fit_network_to_places", stopping)
    with pytest.raises(Stopped):
        train_on_places(options(two, tmp_path / "b" / "x"), lambda text: None)
    monkeypatch.setattr(
        preparing, "fit_network_to_places", fitting.fit_network_to_places
    )
    parts = train_on_places(options(two, tmp_path / "b" / "x"), lambda text: None)
    assert whole["model_id"] == parts["model_id"]


def test_held_out_corpora_are_evaluated_and_reported_in_the_card(two, tmp_path):
    out = tmp_path / "x"
    figures = leave_corpora_out(options(two, out), [["emovo"]], lambda text: None)
    assert set(figures["corpora"]) == {"emovo"}
    for own in figures["corpora"]["emovo"].values():
        assert own["network"]["clips"] == own["functionals"]["clips"] == 8
        assert 0 <= own["network"]["uar"] <= 1
    assert 0 < figures["calibration"]["abstain_below"] < 1
    for said in figures["answers"]["emovo"].values():
        assert sum(said) == pytest.approx(1, abs=1e-3)
    without = load_bundle(str(out / "without-emovo"))
    metrics = json.loads((out / "without-emovo" / "metrics.json").read_text())
    assert set(metrics["corpora"]) == {"nemo", "baved"}
    assert not any(
        speaker.startswith("emovo/") for speaker in metrics["speakers"]["train"]
    )
    train_on_places(options(two, out), lambda text: None)
    assert without.model_id != load_bundle(str(out)).model_id
    calibration = load_bundle(str(out)).calibration
    assert calibration.abstain_below == figures["calibration"]["abstain_below"]
    assert calibration.temperature == figures["calibration"]["temperature"]
    assert "| emovo | clean, balanced |" in (out / "README.md").read_text()
    with pytest.raises(UsageError, match="there is no corpus tess;"):
        leave_corpora_out(options(two, tmp_path / "y"), [["tess"]], lambda text: None)


def test_places_bundles_can_be_evaluated_but_not_fine_tuned(two, tmp_path):
    train_on_places(options(two, tmp_path / "x"), lambda text: None)
    evaluation = evaluate_bundle(str(tmp_path / "x"), two[:1], device="cpu")
    assert set(evaluation["test"]["emovo"]) == {"clean", "clean, profile"}
    assert evaluation["test"]["emovo"]["clean"]["clips"] == 14
    assert evaluation["seen_speakers"] == ["emovo/f1", "emovo/m2"]
    said = ser("train", *two, "--out", tmp_path / "y", "--init", tmp_path / "x")
    assert said.returncode == 2
    assert "cannot fine-tune" in said.stderr
    assert "--recipe small" in ser("models", "show", tmp_path / "x").stdout


def test_figures_of_four_labels_match_a_manual_count():
    labels = ("neutral", "calm", "happy", "sad", "angry", "fearful")
    truth = ["neutral", "calm", "happy", "sad", "angry", "angry", "fearful"]
    said = np.full((7, 6), 0.04)
    # Calm and neutral are merged, and the first angry clip is labelled happy.
    for row, label in enumerate((1, 0, 2, 3, 2, 4, 5)):
        said[row, label] = 0.8
    figures = four_label_figures(said, np.array([0, 0, 1, 0, 1, 1, 1.0]), truth, labels)
    assert figures["clips"] == 6
    assert figures["uar"] == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    assert figures["arousal_auc"] == 1
    assert figures["anger_auc"] == pytest.approx((4 + 2) / 8)


def test_a_neutral_place_is_mostly_neutral_with_one_segment_per_clip():
    label = ["neutral"] * 40 + ["angry"] * 40
    clip = np.repeat(np.arange(80), 2)
    folder = LeftOut(np.arange(160), clip, np.ones(160), label)
    for mostly, wanted in ((True, 0.85), (False, 0.5)):
        sample = folder.place(np.random.default_rng(0), mostly)
        assert len(set(clip[sample])) == len(sample)
        share = np.mean([label[i] == "neutral" for i in clip[sample]])
        assert share == pytest.approx(wanted, abs=0.05)
    values = folder.by_clip(np.arange(160.0)[:, None])
    assert values[:, 0].tolist() == [2 * i + 0.5 for i in range(80)]


def test_unsupported_options_of_places_recipes_are_refused(two, tmp_path):
    for options_given, message in (
        (("--folds",), "does not support --folds"),
        (("--epochs", 3), "does not support --epochs"),
        (("--init", "telephone"), "does not support --init"),
    ):
        said = ser(
            "train", *two, "--recipe", "places", "--out", tmp_path / "x", *options_given
        )
        assert said.returncode == 2
        assert message in said.stderr
    said = ser(
        "train",
        *two,
        "--recipe",
        "mel-cnn",
        "--out",
        tmp_path / "x",
        "--leave-corpus-out",
        "each",
    )
    assert "does not support --leave-corpus-out" in said.stderr
    with pytest.raises(ConfigError, match="give each range as"):
        DrawsConfig(neutral_share=(0.9, 0.1))
    with pytest.raises(ConfigError, match="warm_up"):
        PlacesFitConfig(warm_up=0)

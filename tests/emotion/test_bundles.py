"""Bundles on disk: they load as saved, and damaged ones are refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ser_batch.emotion.bundle_files import shipped_bundles
from ser_batch.emotion.bundles import load_bundle
from ser_batch.emotion.calibration import (
    Calibration,
    certainty,
    fit_calibration,
    log_probabilities,
)
from ser_batch.errors import BundleError
from ser_batch.training.corpora.labels import LABELS, aroused_shares


@pytest.fixture
def copy(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / "copy")


def test_a_bundle_loads_as_it_was_saved(tiny_bundle):
    bundle = load_bundle(str(tiny_bundle))
    assert bundle.labels == LABELS
    assert bundle.model_id.startswith("tiny@")
    features, network = bundle.modules()
    assert not network.training
    logits = network(*features(torch.ones(1, 8000), torch.tensor([8000])))
    assert logits.shape == (1, 8)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "model.safetensors",
            lambda data: data[:-1] + bytes([data[-1] ^ 1]),
            "SHA-256 differs",
        ),
        ("model.safetensors", None, "install or copy the bundle again"),
        ("calibration.json", None, "incomplete"),
        ("config.json", lambda data: data[:50], "not valid JSON"),
        (
            "config.json",
            lambda data: data.replace(b'"format": 2', b'"format": 7'),
            "format 7",
        ),
        (
            "config.json",
            lambda data: data.replace(b'"lstm_width": 8', b'"lstm_width": 9'),
            "does not describe the weights",
        ),
        (
            "config.json",
            lambda data: data.replace(b"n_mels", b"n_smells"),
            "does not describe the weights",
        ),
        ("config.json", lambda data: b"[]", "not a JSON object"),
    ],
)
def test_a_damaged_bundle_is_refused_with_a_reason(copy, file, change, message):
    path = copy / file
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(BundleError, match=message):
        load_bundle(str(copy))


def test_the_model_id_changes_when_the_calibration_changes(copy, tiny_bundle):
    before = load_bundle(str(tiny_bundle)).model_id
    assert load_bundle(str(copy)).model_id == before
    calibration = json.loads((copy / "calibration.json").read_text())
    (copy / "calibration.json").write_text(
        json.dumps({**calibration, "temperature": 2.0})
    )
    assert load_bundle(str(copy)).model_id != before


def test_an_unknown_bundle_name_lists_the_available_ones():
    with pytest.raises(BundleError, match="telephone"):
        load_bundle("telefone")


def test_shipped_bundles_load_are_small_and_document_licence_and_protocol():
    folders = list(shipped_bundles())
    assert "telephone" in [folder.name for folder in folders]
    for folder in folders:
        bundle = load_bundle(folder.name)
        assert bundle.name == folder.name
        assert sum(path.stat().st_size for path in folder.iterdir()) < 20_000_000
        metrics = json.loads((folder / "metrics.json").read_text())
        speakers = metrics["speakers"]
        everyone = [speaker for part in speakers.values() for speaker in part]
        assert len(everyone) == len(set(everyone)), "a speaker is in two parts"
        card = (folder / "README.md").read_text()
        assert metrics["protocol"] in card
        for corpus in metrics["corpora"].values():
            assert corpus["licence"] in card
        for conditions in metrics["test"].values():
            assert all(f"{m['uar']:.1%}" in card for m in conditions.values())


def drawn(logits: torch.Tensor) -> torch.Tensor:
    """Draw true labels from the probabilities of the logits."""
    truth = torch.distributions.Categorical(logits=logits).sample()
    return torch.nn.functional.one_hot(truth, logits.shape[1]).bool()


def test_calibrated_logits_get_a_temperature_of_one():
    torch.manual_seed(0)
    logits = torch.randn(20_000, 4) * 2
    right = drawn(logits)
    assert fit_calibration(logits, right, 0.8).temperature == pytest.approx(1, abs=0.05)
    assert fit_calibration(logits * 3, right, 0.8).temperature == pytest.approx(
        3, abs=0.15
    )


def test_the_threshold_keeps_the_requested_share_of_answers():
    torch.manual_seed(0)
    logits = torch.randn(5000, 4) * 2
    calibration = fit_calibration(logits, drawn(logits), 0.8)
    confidence = calibration.probabilities(logits).amax(-1)
    assert float(
        (confidence >= calibration.abstain_below).float().mean()
    ) == pytest.approx(0.8, abs=0.01)


def test_perfect_answers_do_not_lead_to_overconfidence():
    torch.manual_seed(0)
    truth = torch.randint(4, (200,))
    right = torch.nn.functional.one_hot(truth, 4).bool()
    calibration = fit_calibration(right * 5.0 + torch.randn(200, 4), right, 0.8)
    assert calibration.temperature >= 0.25
    assert calibration.abstain_below < 1.0


@given(st.integers(0, 999), st.floats(0.01, 0.99))
def test_probabilities_agree_with_the_predicted_arousal(seed, arousal):
    torch.manual_seed(seed)
    logits = torch.randn(3, len(LABELS)) * 2
    aroused = torch.tensor(aroused_shares(LABELS))
    certain = torch.isin(aroused, torch.tensor([0.0, 1.0]))
    said = log_probabilities(logits, torch.full((3,), arousal), aroused).softmax(-1)
    p = logits.softmax(-1)
    assert torch.allclose(said.sum(-1), torch.ones(3), rtol=1e-3, atol=1e-4)
    high, low = (certain & (aroused == level) for level in (1, 0))
    expected = p @ aroused
    assert torch.allclose(
        said[:, high], p[:, high] * (arousal / expected)[:, None], rtol=1e-3, atol=1e-4
    )
    rest = (1 - arousal) / (1 - expected)
    assert torch.allclose(said[:, low], p[:, low] * rest[:, None], atol=1e-5)


@given(st.integers(0, 999), st.floats(0.3, 4))
def test_temperature_treats_merged_labels_as_one_label(seed, temperature):
    torch.manual_seed(seed)
    logits = torch.randn(20, 5) * 2
    p = Calibration(temperature, alike=(0, 2)).probabilities(logits)
    as_one = torch.stack(
        [logits[:, [0, 2]].logsumexp(-1), *(logits[:, i] for i in (1, 3, 4))], -1
    )
    told = (as_one / temperature).softmax(-1)
    assert torch.allclose(p[:, [0, 2]].sum(-1), told[:, 0], atol=1e-6)
    assert torch.allclose(p[:, [1, 3, 4]], told[:, 1:], atol=1e-6)
    assert ((p[:, 0] > p[:, 2]) == (logits[:, 0] > logits[:, 2])).all()


def test_the_temperature_with_merged_labels_is_recovered():
    torch.manual_seed(0)
    logits = torch.randn(20_000, 4) * 2
    right = drawn(Calibration(2.0, alike=(0, 1)).probabilities(logits).log())
    right[:, :2] |= right[:, :2].any(-1, keepdim=True)
    assert fit_calibration(logits, right, 0.8, (0, 1)).temperature == pytest.approx(
        2, abs=0.1
    )


def test_calibration_keeps_the_order_of_labels():
    logits = torch.randn(100, 8)
    assert (
        Calibration(2.5).probabilities(logits).argmax(-1) == logits.argmax(-1)
    ).all()


def test_the_confidence_of_merged_labels_is_their_sum():
    p = np.array(
        [[0.2, 0.25, 0.3, 0.25], [0.3, 0.1, 0.25, 0.35], [0.2, 0.3, 0.15, 0.35]]
    )
    assert certainty(p, ()).tolist() == [0.3, 0.35, 0.35]
    assert certainty(p, (0, 3)).tolist() == pytest.approx([0.3, 0.65, 0.55])
    assert certainty(p[:0], (0, 3)).shape == (0,)

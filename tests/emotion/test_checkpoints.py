"""A checkpoint of transformers scores as transformers would, in the same stages."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
import transformers

from ser_batch.emotion.bundle_files import read_bundle
from ser_batch.emotion.bundles import load_bundle
from ser_batch.emotion.checkpoints.dimensional import DimensionalNetwork
from ser_batch.emotion.checkpoints.scorer import CheckpointScorer
from ser_batch.emotion.loading import load_scorer
from ser_batch.errors import BundleError, UsageError
from ser_batch.training.checkpoints.adding import add_checkpoint
from tests.support.checkpoints import KINDS, LABELS, write_checkpoint, write_dimensional
from tests.support.commands import ser
from tests.support.paths import EXAMPLES

RATE = 16_000


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """Keep the models of each test to itself."""
    monkeypatch.setenv("SER_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def utterances(*lengths_s: float, seed: int = 0) -> list[np.ndarray]:
    """Return noise whose spectrum and level differ from one to the next."""
    rng = np.random.default_rng(seed)
    found = []
    for number, length_s in enumerate(lengths_s):
        noise = rng.normal(0, 0.05 * (1 + number % 3), round(length_s * RATE))
        t = np.arange(len(noise)) / RATE
        tone = 0.2 * np.sin(2 * np.pi * (200 + 300 * number) * t)
        found.append((noise + tone).astype(np.float32))
    return found


def scorer_of(name: str) -> CheckpointScorer:
    scorer = load_scorer(name, "cpu")
    assert isinstance(scorer, CheckpointScorer)
    return scorer


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_gives_what_the_pipeline_of_transformers_gives(tmp_path, kind):
    folder = write_checkpoint(tmp_path / "source", kind)
    scorer = scorer_of(add_checkpoint("large", str(folder), {}, "cpu").bundle.name)
    waveforms = utterances(0.7, 1.9, 1.2, 3.0)
    pipeline = transformers.pipeline("audio-classification", model=str(folder))
    ours = {"ang": "angry", "hap": "happy", "neu": "neutral", "sad": "sad"}
    found = scorer.predict(waveforms)
    for waveform, row in zip(waveforms, found, strict=True):
        answer = pipeline({"raw": waveform, "sampling_rate": RATE}, top_k=None)
        expected = {ours[a["label"]]: a["score"] for a in answer}
        assert dict(zip(scorer.labels, row, strict=True)) == pytest.approx(
            expected, abs=1e-4
        )
    assert np.ptp(found, axis=0).max() > 5e-4


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_do_not_depend_on_the_neighbours_in_a_batch(tmp_path, kind):
    folder = write_checkpoint(tmp_path / "source", kind)
    add_checkpoint("large", str(folder), {}, "cpu")
    scorer = scorer_of("large")
    waveforms = utterances(0.6, 2.7, 1.1, 0.9, 1.8)
    together = scorer.predict(waveforms)
    alone = np.concatenate([scorer.predict([own]) for own in waveforms])
    assert together == pytest.approx(alone, abs=1e-4)


def test_dimensions_are_those_of_the_published_network(tmp_path):
    folder = write_dimensional(tmp_path / "source")
    add_checkpoint("dimensions", str(folder), {}, "cpu")
    scorer, waveforms = scorer_of("dimensions"), utterances(0.8, 2.1)
    found = scorer.scored(waveforms)
    network = DimensionalNetwork.from_pretrained(folder).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    for number, own in enumerate(waveforms):
        inputs = extractor(own, sampling_rate=RATE, return_tensors="pt")
        with torch.inference_mode():
            # As published: the mean over all frames, without a mask.
            hidden = network.wav2vec2(inputs["input_values"])[0].mean(1)
            hidden = torch.tanh(network.classifier.dense(hidden))
            expected = network.classifier.out_proj(hidden)[0].clamp(0, 1).tolist()
        got = [found.values[n][number] for n in ("arousal", "dominance", "valence")]
        assert got == pytest.approx(expected, abs=1e-4)
    assert found.probabilities.shape == (2, 0)


def test_speech_longer_than_a_network_hears_at_once_is_heard_in_windows(tmp_path):
    add_checkpoint("ast", str(write_checkpoint(tmp_path / "source", "AST")), {}, "cpu")
    scorer = scorer_of("ast")
    assert scorer.checkpoint.longest_s == 10.24
    (long,) = utterances(18.0)
    halves = np.array_split(long, 2)
    outputs = scorer.outputs([*halves, long])
    assert outputs[2].numpy() == pytest.approx(outputs[:2].mean(0).numpy(), abs=1e-5)
    # What lies beyond the first window counts.
    changed = long.copy()
    changed[-4 * RATE :] = 0
    assert abs(scorer.outputs([changed]) - outputs[2:]).max() > 1e-4


def test_a_very_short_utterance_has_an_answer(tmp_path):
    add_checkpoint("large", str(write_checkpoint(tmp_path / "source")), {}, "cpu")
    (p,) = scorer_of("large").predict([np.zeros(10, np.float32)])
    assert p.sum() == pytest.approx(1, abs=1e-5)


def test_calls_are_analysed_and_reported_as_with_any_other_model(tmp_path):
    folder = write_checkpoint(tmp_path / "source")
    added = ser("models", "add", "large", folder, "--device", "cpu")
    assert added.returncode == 0, added.stderr
    assert "ang → angry" in added.stdout
    out = tmp_path / "out"
    done = ser("analyze", EXAMPLES, "--bundle", "large", "--out", out)
    assert done.returncode == 3, done.stderr  # one of the examples is broken
    rows = pq.read_table(out / "segments").to_pandas()
    probabilities = rows[["p_neutral", "p_happy", "p_sad", "p_angry"]]
    assert len(rows) > 10
    assert probabilities.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-3)
    assert rows[["arousal", "valence", "dominance"]].isna().all(axis=None)
    again = ser("analyze", EXAMPLES, "--bundle", "large", "--out", out)
    assert "5 already analysed" in again.stdout + again.stderr
    assert pq.read_table(out / "segments").num_rows == len(rows)
    assert "angry" in ser("report", out).stdout
    assert ser("verify", out).returncode == 0


def test_dimensions_fill_their_columns_and_reports_show_what_there_is(tmp_path):
    folder = write_dimensional(tmp_path / "source")
    assert ser("models", "add", "dims", folder, "--device", "cpu").returncode == 0
    out = tmp_path / "out"
    done = ser(
        "analyze", EXAMPLES, "--bundle", "dims", "--out", out,
        "--roles", "agent,customer",
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    rows = pq.read_table(out / "segments").to_pandas()
    assert rows[["label", "confidence"]].isna().all(axis=None)
    for name in ("arousal", "valence", "dominance"):
        assert rows[name].between(0, 1).all()
    calls = pq.read_table(out / "recordings").to_pandas()
    assert not (calls.not_scored == "abstained").any()
    report = ser("report", out)
    assert report.returncode == 0, report.stderr
    weight = rows.end_s - rows.start_s
    valence = float((2 * rows.valence - 1) @ weight / weight.sum())
    assert f"valence {valence:+.2f}" in report.stdout
    assert "no label" not in report.stdout
    assert "label start" not in report.stdout
    drawn = ser("label", "start", out, "--out", tmp_path / "labels")
    assert drawn.returncode == 2
    assert "estimates dimensions" in drawn.stderr
    for arguments in (
        ("report", out, "--format", "json"),
        ("report", out, "--format", "markdown"),
        ("report", out, "--html", tmp_path / "report.html"),
        ("report", out, "--by", "folder"),
        ("report", out, "--call", "1001"),
        ("verify", out),
        ("export", out, "--to", "xlsx", "--out", tmp_path / "calls.xlsx"),
        ("export", out, "--to", "csv", "--out", tmp_path / "csv"),
        ("predict", EXAMPLES / "billing" / "1001.wav", "--bundle", "dims"),
    ):
        done = ser(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)


def test_labels_are_mapped_by_name_and_what_is_not_common_is_said(tmp_path):
    folder = write_checkpoint(
        tmp_path / "source", labels=("anger", "joy", "Bored", "happiness")
    )
    done = ser("models", "add", "large", folder, "--map", "bored=boredom")
    assert done.returncode == 0, done.stderr
    assert "kept: bored" in " ".join(done.stdout.split())
    bundle = load_bundle("large")
    assert bundle.labels == ("happy", "angry", "bored")
    # Two outputs that mean the same share one label.
    scorer, waveforms = scorer_of("large"), utterances(1.0, 2.0)
    own = scorer.outputs(waveforms).softmax(1)
    assert scorer.predict(waveforms)[:, 0] == pytest.approx(
        (own[:, 1] + own[:, 3]).numpy(), abs=1e-5
    )
    strange = ser("models", "add", "other", folder, "--map", "fear=fearful")
    assert strange.returncode == 2
    assert "no such label; it has anger, joy, bored, happiness" in strange.stderr


def test_outputs_that_nobody_named_are_asked_for(tmp_path):
    folder = write_checkpoint(tmp_path / "source", labels=("LABEL_0", "LABEL_1"))
    with pytest.raises(UsageError, match="--map label_0=angry"):
        add_checkpoint("large", str(folder), {}, "cpu")
    named = {"label_0": "angry", "LABEL_1": "neutral"}
    added = add_checkpoint("large", str(folder), named, "cpu")
    assert added.bundle.labels == ("neutral", "angry")
    with pytest.raises(UsageError, match="a model needs two labels"):
        add_checkpoint("other", str(folder), dict.fromkeys(named, "sad"), "cpu")


def _edited(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _without_head(folder):
    path = folder / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    kept = {k: v for k, v in weights.items() if not k.startswith("classifier")}
    safetensors.torch.save_file(kept, path, {"format": "pt"})


def _pickled(folder):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_head, "which would be random"),
        (_pickled, "no weights in safetensors"),
        (lambda f: (f / "preprocessor_config.json").unlink(), "no feature extractor"),
        (lambda f: (f / "config.json").unlink(), "not a checkpoint of transformers"),
        (lambda f: _edited(f, auto_map={"AutoModel": "evil.Model"}), "Python code"),
        (lambda f: _edited(f, architectures=["BertModel"]), "is a BertModel; ser runs"),
        (lambda f: _edited(f, num_hidden_layers=5), "which would be random"),
        (
            lambda f: _edited(f, problem_type="multi_label_classification"),
            "do not exclude each other",
        ),
        (lambda f: (f / "model.safetensors").write_bytes(b"x"), "cannot be loaded"),
        (lambda f: (f / "config.json").write_text("{"), "does not say which network"),
    ],
)
def test_a_checkpoint_that_would_not_work_is_refused_and_leaves_nothing(
    tmp_path, models, spoil, message
):
    folder = write_checkpoint(tmp_path / "source")
    spoil(folder)
    with pytest.raises(BundleError, match=message):
        add_checkpoint("large", str(folder), {}, "cpu")
    assert not list(models.iterdir())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"id2label": ["a", "b"]}, "cannot be loaded"),
        ({"num_attention_heads": 0}, "cannot be loaded"),
        ({"hidden_size": "abc"}, "cannot be loaded"),
        ({"problem_type": "regression"}, "do not exclude each other"),
        ({"id2label": {"0": "arousal", "1": "valence", "2": "dominance"}}, "alone"),
        ({"quantization_config": {"quant_method": "gptq"}}, "never fetches"),
        ({"attn_implementation": "someone/kernels"}, "never fetches"),
        ({"architectures": "Wav2Vec2ForSequenceClassification"}, "which network"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_the_name_of_the_source(
    tmp_path, models, values, message
):
    labels = ("arousal", "valence", "dominance") if message == "alone" else LABELS
    folder = write_checkpoint(tmp_path / "source", labels=labels)
    _edited(folder, **values)
    done = ser("models", "add", "large", folder)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert str(folder) in done.stderr.replace("\n", "")
    assert not list(models.iterdir())


@pytest.mark.parametrize("rate", [0, None, "16000", 10**12])
def test_a_rate_that_no_call_has_is_refused(tmp_path, rate):
    folder = write_checkpoint(tmp_path / "source")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sampling_rate": rate}))
    with pytest.raises(BundleError, match="sampling rate|cannot be loaded"):
        add_checkpoint("large", str(folder), {}, "cpu")


def test_a_checkpoint_is_tried_before_it_is_added(tmp_path, models):
    folder = write_checkpoint(tmp_path / "source")
    path = folder / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    weights["classifier.bias"][0] = torch.nan
    safetensors.torch.save_file(weights, path, {"format": "pt"})
    with pytest.raises(BundleError, match="its outputs are not numbers"):
        add_checkpoint("large", str(folder), {}, "cpu")
    write_checkpoint(tmp_path / "ast", "AST")
    settings = "preprocessor_config.json"
    shutil.copyfile(tmp_path / "ast" / settings, folder / settings)
    with pytest.raises(BundleError, match="does not work"):
        add_checkpoint("large", str(folder), {}, "cpu")
    assert not list(models.iterdir())


def test_weights_in_several_files_are_read_like_those_in_one(tmp_path):
    folder = write_checkpoint(tmp_path / "source")
    whole = transformers.Wav2Vec2ForSequenceClassification.from_pretrained(folder)
    whole.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    shutil.copyfile(
        folder / "preprocessor_config.json",
        tmp_path / "shards" / "preprocessor_config.json",
    )
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    add_checkpoint("whole", str(folder), {}, "cpu")
    add_checkpoint("shards", str(tmp_path / "shards"), {}, "cpu")
    waveforms = utterances(0.9, 1.4)
    assert scorer_of("shards").predict(waveforms) == pytest.approx(
        scorer_of("whole").predict(waveforms), abs=1e-6
    )


def test_the_second_of_two_adds_at_once_is_told_that_the_name_is_taken(
    tmp_path, monkeypatch, models
):
    folder = write_checkpoint(tmp_path / "source")
    other = write_checkpoint(tmp_path / "other", "Whisper")
    module = "ser_batch.training.checkpoints.adding"
    from ser_batch.training.checkpoints import adding

    described = adding._described

    def slow(*args):
        monkeypatch.setattr(f"{module}._described", described)
        add_checkpoint("large", str(other), {}, "cpu")
        return described(*args)

    monkeypatch.setattr(f"{module}._described", slow)
    with pytest.raises(UsageError, match="there is a bundle large"):
        add_checkpoint("large", str(folder), {}, "cpu")
    assert scorer_of("large").checkpoint.input_s == 30
    assert [path.name for path in models.iterdir()] == ["large"]


@pytest.mark.parametrize("name", ["", "-x", "a b", "*", "[red]x", "a/b", "x" * 80, "ä"])
def test_names_of_bundles_are_plain(tmp_path, name):
    folder = write_checkpoint(tmp_path / "source")
    with pytest.raises(UsageError, match="no name of a bundle"):
        add_checkpoint(name, str(folder), {}, "cpu")


def test_a_folder_for_models_that_cannot_be_is_said_to_be_one(tmp_path, monkeypatch):
    folder = write_checkpoint(tmp_path / "source")
    (tmp_path / "file").touch()
    for place in ("file", "file/below"):
        monkeypatch.setenv("SER_MODELS", str(tmp_path / place))
        with pytest.raises(UsageError, match="SER_MODELS names another folder"):
            add_checkpoint("large", str(folder), {}, "cpu")


def test_labels_that_no_table_could_hold_are_renamed_or_refused(tmp_path):
    odd = ("a\0b", "\x1b[31mred", "", "  Two\n words ")
    folder = write_checkpoint(tmp_path / "source", labels=odd)
    with pytest.raises(UsageError, match=r"label_0, label_1, label_2\)"):
        add_checkpoint("large", str(folder), {}, "cpu")
    named = {"label_0": "angry", "label_1": "sad", "label_2": "neutral"}
    added = add_checkpoint("large", str(folder), named, "cpu")
    assert added.bundle.labels == ("neutral", "sad", "angry", "two_words")
    other = write_checkpoint(tmp_path / "other", labels=("[/bold]", "x|y", "sad", "ok"))
    with pytest.raises(UsageError, match="cannot be a label"):
        add_checkpoint("other", str(other), {}, "cpu")
    for mapped in ({"sad": " "}, {"sad": "sad", "SAD": "angry"}):
        with pytest.raises(UsageError, match="give each label once"):
            add_checkpoint("other", str(other), mapped, "cpu")


def test_the_list_of_models_survives_odd_licences_and_damaged_bundles(tmp_path, models):
    folder = write_checkpoint(tmp_path / "source")
    (folder / "README.md").write_text('---\nlicense: "[red]x[/red] [/bold]"\n---\n')
    done = ser("models", "add", "large", folder, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "[red]x[/red] [/bold]" in done.stdout
    (models / "bad").mkdir()
    (models / "bad" / "config.json").write_text("{}")
    (models / ".large.left").mkdir()
    (models / ".large.left" / "config.json").write_text("{}")
    listed = ser("models", "list")
    assert listed.returncode == 0
    assert "large@" in listed.stdout
    assert "bad: " in listed.stderr
    assert "left" not in listed.stdout + listed.stderr
    (models / "large" / "README.md").unlink()
    assert ser("models", "show", "large").returncode == 2
    checks = {c["name"]: c["ok"] for c in json.loads(ser("doctor", "--json").stdout)}
    assert not checks["bundles"]


def test_names_that_are_taken_or_sources_that_are_not_there_are_refused(tmp_path):
    folder = str(write_checkpoint(tmp_path / "source"))
    with pytest.raises(UsageError, match="there is a bundle telephone"):
        add_checkpoint("telephone", folder, {}, "cpu")
    with pytest.raises(UsageError, match="neither a folder nor a name"):
        add_checkpoint("large", "no such:thing", {}, "cpu")
    with pytest.raises(UsageError, match="cannot be downloaded"):
        add_checkpoint("large", "nobody/nothing", {}, "cpu")
    with pytest.raises(UsageError, match="on the hub"):
        add_checkpoint("large", folder, {}, "cpu", revision="main")


def test_a_name_on_the_hub_is_downloaded_once_with_its_licence_and_revision(
    tmp_path, monkeypatch
):
    source = write_checkpoint(tmp_path / "hub")
    (source / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# A model\n")
    asked = []

    def download(name, *, revision, allow_patterns, ignore_patterns, local_dir):
        asked.append((name, revision, allow_patterns))
        shutil.copytree(source, local_dir)
        notes = local_dir / ".cache" / "huggingface" / "download"
        notes.mkdir(parents=True)
        (notes / "config.json.metadata").write_text("0123abc\netag\n1.0\n")

    monkeypatch.setattr(
        "ser_batch.training.checkpoints.adding.snapshot_download", download
    )
    added = add_checkpoint("large", "org/model", {}, "cpu")
    assert [name for name, *_ in asked] == ["org/model"]
    assert not any("bin" in pattern or "py" in pattern for pattern in asked[0][2])
    assert added.metrics["revision"] == "0123abc"
    assert added.bundle.licence == "cc-by-4.0"
    card = ser("models", "show", "large").stdout
    assert "cc-by-4.0" in card
    assert "0123abc" in card
    assert not (added.bundle.folder / "checkpoint" / ".cache").exists()
    load_scorer("large", "cpu")
    assert len(asked) == 1


def test_a_model_is_known_by_its_weights(tmp_path):
    folder = write_checkpoint(tmp_path / "source")
    add_checkpoint("large", str(folder), {}, "cpu")
    before, bundle = load_bundle("large").model_id, read_bundle("large")
    assert before == bundle.model_id
    path = bundle.folder / "checkpoint" / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    weights["classifier.bias"] += 1
    safetensors.torch.save_file(weights, path, {"format": "pt"})
    with pytest.raises(BundleError, match="does not match config.json"):
        load_scorer("large", "cpu")

    def model_id(source) -> str:
        shutil.rmtree(bundle.folder)
        return add_checkpoint("large", str(source), {}, "cpu").bundle.model_id

    assert model_id(folder) == before
    other = write_checkpoint(tmp_path / "other", labels=(*LABELS[:3], "fear"))
    assert model_id(other) != before
    # What comes before the network counts as well.
    settings = folder / "preprocessor_config.json"
    settings.write_text(
        settings.read_text().replace('"do_normalize": true', '"do_normalize": false')
    )
    assert model_id(folder) != before


def test_without_transformers_the_extra_is_named(tmp_path, monkeypatch):
    add_checkpoint("large", str(write_checkpoint(tmp_path / "source")), {}, "cpu")
    monkeypatch.setattr("ser_batch.emotion.loading.find_spec", lambda _: None)
    done = ser("analyze", EXAMPLES, "--bundle", "large", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "ser-batch[large]" in done.stderr
    added = ser("models", "add", "other", tmp_path / "source")
    assert added.returncode == 2
    assert "ser-batch[large]" in added.stderr

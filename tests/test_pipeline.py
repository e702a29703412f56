"""The pipeline end to end, from recordings to rows."""

import json
import os

import numpy as np
import pytest
import torch

import ser_batch
from ser_batch.config.options import Config
from ser_batch.emotion.features import feature_sums
from ser_batch.errors import ResultsError, UsageError
from ser_batch.intervals import total_s
from tests.support.commands import ser
from tests.support.recordings import write_call
from tests.support.runs import analyzed, config
from tests.support.tables import read_table, tables


def test_every_recording_gets_one_row_with_its_speech_and_segments(
    calls, tmp_path, tiny_bundle
):
    progress = analyzed([calls], tmp_path / "out", config(tiny_bundle))
    rows = {row["path"]: row for row in tables(tmp_path / "out")["recordings"]}
    assert (progress.found, progress.done, progress.failed) == (5, 4, 1)
    assert sorted(rows) == [
        "billing/1001.wav",
        "billing/1002-silent.wav",
        "billing/1003-broken.wav",
        "delivery/2001.ogg",
        "delivery/2002.wav",
    ]
    assert rows["billing/1003-broken.wav"]["status"] == "failed"
    assert "unrecognised audio format" in rows["billing/1003-broken.wav"]["error"]
    silent = rows["billing/1002-silent.wav"]
    assert (silent["status"], silent["segments"], silent["silence_s"]) == (
        "done",
        0,
        silent["duration_s"],
    )
    call = rows["billing/1001.wav"]
    assert (call["codec"], call["sample_rate_hz"], call["channels"]) == (
        "wav/ulaw",
        8000,
        2,
    )
    segments = read_table(tmp_path / "out", "segments").to_pandas()
    own = segments[segments.path == "billing/1001.wav"]
    assert len(own) == call["segments"] > 3
    assert set(own.channel) == {0, 1}
    probabilities = segments.filter(regex="^p_").to_numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(
        probabilities.max(axis=1), segments.confidence, atol=1e-6
    )
    assert own.segment.tolist() == list(range(len(own)))
    assert (own.end_s <= call["duration_s"]).all()
    assert own.label.isna().equals(own.confidence < np.float32(0.15))


def test_segments_are_within_the_speech_of_their_own_channel(
    calls, tmp_path, tiny_bundle
):
    analyzed(
        [calls], tmp_path / "out", config(tiny_bundle, segments={"max_pause_s": 0.0})
    )
    rows = tables(tmp_path / "out")
    for segment in rows["segments"]:
        assert any(
            region["recording_id"] == segment["recording_id"]
            and region["channel"] == segment["channel"]
            and region["start_s"] <= segment["start_s"]
            and segment["end_s"] <= region["end_s"]
            for region in rows["speech"]
        )


def test_speech_in_a_synthetic_call_is_detected_where_it_was_placed(
    tmp_path, tiny_bundle, call
):
    # Voices of the examples: the agent from 1 s to 3 s, the customer from 5 s to 7 s.
    waveform = np.zeros((2, 9 * 8000), np.float32)
    waveform[0, 8000:24000] = call[0, 4500:20500]
    waveform[1, 40000:56000] = call[1, 36000:52000]
    write_call(tmp_path / "in" / "x.wav", waveform)
    [analysis] = ser_batch.analyze([tmp_path / "in"], config(tiny_bundle))
    agent, customer = analysis.speakers
    assert all(s.start_s > 0.8 and s.end_s < 3.4 for s in agent.speech)
    assert all(s.start_s > 4.8 and s.end_s < 7.4 for s in customer.speech)
    assert sum(s.duration_s for s in agent.speech) > 1
    assert sum(s.duration_s for s in customer.speech) > 1


def test_the_next_run_analyses_only_new_and_changed_recordings(
    calls, tmp_path, tiny_bundle, call
):
    out, settings = tmp_path / "out", config(tiny_bundle)
    analyzed([calls], out, settings)
    before = tables(out)
    again = analyzed([calls], out, settings)
    assert (again.skipped, again.done, again.failed) == (5, 0, 0)
    assert tables(out) == before

    write_call(calls / "billing" / "new.wav", call)
    write_call(calls / "delivery" / "2002.wav", call[:, : 8000 * 10])
    os.utime(calls / "billing" / "1001.wav", (1e9, 1e9))
    third = analyzed([calls], out, settings)
    assert (third.skipped, third.done, third.failed) == (4, 2, 0)
    rows = {row["path"]: row for row in tables(out)["recordings"]}
    assert len(rows) == 6
    assert rows["delivery/2002.wav"]["channels"] == 2
    assert [r for r in tables(out)["segments"] if r["path"] == "billing/1001.wav"] == [
        r for r in before["segments"] if r["path"] == "billing/1001.wav"
    ]


def test_an_unreachable_recording_keeps_its_rows(calls, tmp_path, tiny_bundle, call):
    (calls / "link.wav").symlink_to(write_call(tmp_path / "elsewhere.wav", call[::-1]))
    ser("analyze", calls, "--bundle", tiny_bundle, "--out", tmp_path / "out")
    before = tables(tmp_path / "out")
    (tmp_path / "elsewhere.wav").unlink()
    ser(
        "analyze",
        calls,
        calls / "link.wav",
        calls / "link.wav",
        "--bundle",
        tiny_bundle,
        "--out",
        tmp_path / "out",
    )
    assert tables(tmp_path / "out") == before


def test_failed_recordings_are_retried_after_a_change_or_on_request(
    calls, tmp_path, tiny_bundle, call
):
    out, settings = tmp_path / "out", config(tiny_bundle)
    analyzed([calls], out, settings)
    assert (
        analyzed([calls], out, config(tiny_bundle, run={"retry_failed": True})).failed
        == 1
    )
    write_call(calls / "billing" / "1003-broken.wav", call)
    mended = analyzed([calls], out, settings)
    assert (mended.done, mended.failed) == (1, 0)
    assert all(row["status"] == "done" for row in tables(out)["recordings"])


def test_results_cannot_be_extended_with_another_configuration(
    calls, tmp_path, tiny_bundle
):
    analyzed([calls], tmp_path / "out", config(tiny_bundle))
    with pytest.raises(ResultsError, match=r"vad.onset 0.5 \(now 0.6\)\. Rows of"):
        analyzed([calls], tmp_path / "out", config(tiny_bundle, vad={"onset": 0.6}))
    (tmp_path / "out" / "run.json").unlink()
    with pytest.raises(ResultsError, match="Choose a new --out"):
        analyzed([calls], tmp_path / "out", config(tiny_bundle, vad={"onset": 0.6}))


def test_with_roles_only_the_customer_is_scored_and_both_are_timed(
    calls, tmp_path, tiny_bundle
):
    roles = {"bundle": str(tiny_bundle), "roles": ["agent", "customer"]}
    analyzed([calls / "billing"], tmp_path / "one", config(tiny_bundle, score=roles))
    rows = tables(tmp_path / "one")
    assert {row["role"] for row in rows["segments"]} == {"customer"}
    assert {row["channel"] for row in rows["segments"]} == {1}
    assert {row["role"] for row in rows["speech"]} == {"agent", "customer"}
    call = next(row for row in rows["recordings"] if row["path"] == "1001.wav")
    assert call["agent_talk_s"] > 5
    assert call["customer_talk_s"] > 5
    assert call["channel_talk_s"] == pytest.approx(
        [call["agent_talk_s"], call["customer_talk_s"]], abs=1e-3
    )
    spoken = call["agent_talk_s"] + call["customer_talk_s"] - call["overtalk_s"]
    assert call["silence_s"] == pytest.approx(call["duration_s"] - spoken, abs=0.01)

    analyzed(
        [calls / "billing"],
        tmp_path / "both",
        config(tiny_bundle, score={**roles, "score_agents": True}),
    )
    assert {row["role"] for row in tables(tmp_path / "both")["segments"]} == {
        "agent",
        "customer",
    }


def test_unknown_channel_roles_prevent_scoring_and_are_noted(
    calls, tmp_path, tiny_bundle
):
    score = {"bundle": str(tiny_bundle), "roles": ["agent", "customer"]}
    analyzed(
        [calls / "delivery" / "2002.wav"],
        tmp_path / "out",
        config(tiny_bundle, score=score, speakers={"count": "1"}),
    )
    rows = tables(tmp_path / "out")
    assert rows["recordings"][0]["notes"] == (
        "channels: 1, roles: 2; "
        "the role of each channel is unknown, so nothing is scored"
    )
    assert rows["speech"]
    assert not rows["segments"]


def test_crosstalk_is_not_detected_as_speech(tmp_path, tiny_bundle, call):
    leaky = call.copy()
    leaky[1] += 0.02 * call[0]  # 34 dB below
    write_call(tmp_path / "in" / "x.wav", leaky, "FLOAT")
    write_call(tmp_path / "clean" / "x.wav", call, "FLOAT")
    [heard], [clean] = (
        list(ser_batch.analyze([tmp_path / name], config(tiny_bundle)))
        for name in ("in", "clean")
    )
    [deaf] = ser_batch.analyze([tmp_path / "in"], Config.from_dict(
        {"score": {"bundle": str(tiny_bundle)}, "vad": {"crosstalk": False}}
    ))  # fmt: skip
    own, kept, leaked = (total_s(a.speakers[1].speech) for a in (clean, heard, deaf))
    assert kept == pytest.approx(own, abs=0.8)
    assert leaked > own + 3


@pytest.mark.parametrize("roles", [[], ["customer"], ["agent"], ["agent", "customer"]])
def test_a_mono_call_stored_as_stereo_is_treated_as_one_channel(
    tmp_path, tiny_bundle, call, roles
):
    write_call(tmp_path / "in" / "x.wav", np.stack([call.sum(axis=0)] * 2))
    score = {"bundle": str(tiny_bundle), "roles": roles}
    analyzed([tmp_path / "in"], tmp_path / "out", config(tiny_bundle, score=score))
    rows = tables(tmp_path / "out")
    assert rows["recordings"][0]["channels"] == 2
    # Where voices within one channel are told apart, their overlap is not known.
    assert not rows["recordings"][0]["overtalk_s"]
    assert (
        "all 2 channels are the same; treated as one" in rows["recordings"][0]["notes"]
    )
    assert {row["channel"] for row in rows["speech"]} == {0}
    # If the roles include an agent, the mix contains the agent, so nothing is scored.
    assert bool(rows["segments"]) == ("agent" not in roles)


def test_every_recording_without_labels_has_a_reason(tmp_path, tiny_bundle, call):
    rng = np.random.default_rng(0)
    quiet = (1e-4 * rng.standard_normal((2, 40_000))).astype(np.float32)
    write_call(tmp_path / "in" / "nobody.wav", quiet)
    write_call(
        tmp_path / "in" / "agent.wav",
        np.stack(
            [
                call[0],
                quiet[0][: call.shape[1]].repeat(call.shape[1] // 40_000 + 1)[
                    : call.shape[1]
                ],
            ]
        ),
    )
    write_call(tmp_path / "in" / "mono.wav", call[:1])
    write_call(tmp_path / "in" / "both.wav", call)
    score = {
        "bundle": str(tiny_bundle),
        "roles": ["agent", "customer"],
        "abstain_below": 0.0,
    }
    analyzed([tmp_path / "in"], tmp_path / "out", config(tiny_bundle, score=score))
    said = {
        row["path"]: row["not_scored"] for row in tables(tmp_path / "out")["recordings"]
    }
    assert said == {
        "nobody.wav": "no_speech",
        "agent.wav": "customer_silent",
        "mono.wav": "speakers_unknown",
        "both.wav": None,
    }
    unsure = score | {"abstain_below": 1.0}
    analyzed(
        [tmp_path / "in" / "both.wav"],
        tmp_path / "unsure",
        config(tiny_bundle, score=unsure),
    )
    assert [row["not_scored"] for row in tables(tmp_path / "unsure")["recordings"]] == [
        "abstained"
    ]


def test_mixing_gives_a_single_channel(calls, tmp_path, tiny_bundle):
    analyzed(
        [calls / "billing"], tmp_path / "out", config(tiny_bundle, audio={"mix": True})
    )
    rows = tables(tmp_path / "out")
    assert {row["channel"] for row in rows["speech"]} == {0}
    assert (
        next(r for r in rows["recordings"] if r["path"] == "1001.wav")["overtalk_s"]
        == 0
    )


def test_segments_are_scored_with_the_first_speech_of_their_channel(
    tmp_path, tiny_bundle, call
):
    from ser_batch.emotion.bundles import load_bundle
    from ser_batch.intervals import sample_index

    write_call(tmp_path / "x.wav", call, "FLOAT")
    [analysis] = ser_batch.analyze([tmp_path / "x.wav"], config(tiny_bundle))
    bundle = load_bundle(str(tiny_bundle))
    features, network = bundle.modules()

    def samples_of(scored) -> np.ndarray:
        start, end = (
            sample_index(t, 8000)
            for t in (scored.interval.start_s, scored.interval.end_s)
        )
        return call[scored.channel, start:end]

    for scored in analysis.segments:
        own = torch.from_numpy(samples_of(scored).copy())
        together = [
            other for other in analysis.segments if other.channel == scored.channel
        ]
        spoken = [samples_of(other) for other in together]
        ends = np.cumsum([len(part) for part in spoken])
        first = [
            part[: max(0, 5 * 8000 - end + len(part))]
            for part, end in zip(spoken, ends, strict=True)
        ]
        context = torch.zeros(1, 1 + 2 * bundle.features.n_static)
        with torch.inference_mode():
            for other, part in zip(together, first, strict=True):
                if len(part) and other is not scored:
                    context += feature_sums(
                        *features.static(
                            torch.from_numpy(part.copy())[None],
                            torch.tensor([len(part)]),
                        )
                    )
            logits = network(*features(own[None], torch.tensor([len(own)]), context))
        alone = bundle.calibration.probabilities(logits)[0]
        np.testing.assert_allclose(
            list(scored.probabilities.values()), alone, atol=1e-4
        )
        assert scored.level_dbfs == pytest.approx(
            float(10 * own.var(unbiased=False).log10()), abs=0.01
        )
    # Some speech is beyond the context.
    assert (
        sum(len(samples_of(s)) for s in analysis.segments if s.channel == 0) > 5 * 8000
    )


def test_run_json_records_model_and_configuration_and_adds_up(
    calls, tmp_path, tiny_bundle
):
    analyzed([calls], tmp_path / "out", config(tiny_bundle))
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    counts = record["counts"]
    assert (
        counts["found"]
        == counts["done"]
        + counts["failed"]
        + counts["skipped"]
        + counts["growing"]
        + counts["pending"]
    )
    assert record["model"]["id"].startswith("tiny@")
    assert Config.from_dict(record["config"]).hash() == record["config_hash"]
    assert record["versions"]["torch"]
    assert record["finished_at"] > record["started_at"]


def test_no_temporary_files_are_left(calls, tmp_path, tiny_bundle):
    analyzed([calls], tmp_path / "out", config(tiny_bundle))
    out = tmp_path / "out"
    assert {p.name for p in out.iterdir()} == {
        ".gen", ".lock", "current", "manifest.json", "run.json",
        "recordings", "speech", "segments",
    }  # fmt: skip
    names = {p.name for p in out.rglob("*") if p.is_file()} - {".lock"}
    assert names == {"manifest.json", "run.json", "part-000001-000002.parquet"}


def test_recordings_skipped_after_an_earlier_failure_are_counted(
    calls, tmp_path, tiny_bundle
):
    analyzed([calls], tmp_path / "out", config(tiny_bundle))
    assert analyzed([calls], tmp_path / "out", config(tiny_bundle)).failed_before == 1
    said = ser("analyze", calls, "--bundle", tiny_bundle, "--out", tmp_path / "out")
    assert (
        "5 already analysed (1 of them failed: retry with --retry-failed)"
        in said.stdout
    )


def test_the_api_yields_recordings_and_writes_nothing(calls, tiny_bundle):
    before = sorted(calls.rglob("*"))
    analyses = {a.path: a for a in ser_batch.analyze([calls], config(tiny_bundle))}
    assert len(analyses) == 5
    assert analyses["billing/1003-broken.wav"].error
    assert analyses["billing/1001.wav"].segments
    assert sorted(calls.rglob("*")) == before


def test_a_missing_input_or_device_is_refused_before_the_run_starts(
    calls, tmp_path, tiny_bundle
):
    with pytest.raises(UsageError, match="no such file"):
        analyzed([tmp_path / "none"], tmp_path / "out", config(tiny_bundle))
    with pytest.raises(UsageError, match="cuda:99"):
        analyzed(
            [calls], tmp_path / "out", config(tiny_bundle, run={"device": "cuda:99"})
        )
    with pytest.raises(UsageError, match="choose auto, cpu"):
        analyzed([calls], tmp_path / "out", config(tiny_bundle, run={"device": "gpu"}))
    assert not (tmp_path / "out").exists()


@pytest.mark.cuda
@pytest.mark.parametrize("bundle", ["tiny_bundle", "profiled_bundle"])
def test_probabilities_on_cuda_are_close_to_those_on_the_cpu(
    calls, tmp_path, bundle, request
):
    own = request.getfixturevalue(bundle)
    for device in ("cpu", "cuda"):
        analyzed([calls], tmp_path / device, config(own, run={"device": device}))
    cpu, cuda = (tables(tmp_path / device)["segments"] for device in ("cpu", "cuda"))
    for a, b in zip(cpu, cuda, strict=True):
        for key in a:
            if key.startswith("p_"):
                # Half precision in the network of `tiny`, TF32 in the other.
                assert a[key] == pytest.approx(b[key], abs=0.01)

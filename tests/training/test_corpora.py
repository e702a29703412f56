"""Corpora: all layouts are read, nothing is skipped silently, and archives are safe."""

import zipfile
from itertools import product
from pathlib import Path, PurePosixPath

import pytest

from ser_batch.errors import CorpusError
from ser_batch.training.corpora.labels import LABELS
from ser_batch.training.corpora.layouts import LAYOUTS
from ser_batch.training.corpora.readers import PUBLISHED, read_corpora, read_corpus
from ser_batch.training.corpora.relabelling import with_labels
from ser_batch.training.data.material import duplicates, prepare
from ser_batch.training.data.utterances import load_utterances
from tests.support.commands import ser
from tests.support.corpora import write_clip

EXPECTED = {
    "ravdess": (56, 7, LABELS),
    "ravdess-song": (42, 7, LABELS[:6]),
    "tess": (15, 2, tuple(label for label in LABELS if label != "calm")),
    "crema-d": (36, 6, ("neutral", "happy", "sad", "angry", "fearful", "disgust")),
    "savee": (16, 3, tuple(label for label in LABELS if label != "calm")),
    "emodb": (
        35,
        5,
        ("neutral", "happy", "sad", "angry", "fearful", "disgust", "bored"),
    ),
    "ased": (10, 2, ("neutral", "happy", "sad", "angry", "fearful")),
    "turev": (8, 2, ("calm", "happy", "sad", "angry")),
    "emospeech": (8, 2, ("calm", "happy", "angry", "fearful")),
    "baved": (6, 2, ("high", "low", "medium")),
    "emovo": (14, 2, tuple(label for label in LABELS if label != "calm")),
    "casia": (12, 2, ("neutral", "happy", "sad", "angry", "fearful", "surprised")),
    "esd": (10, 2, ("neutral", "happy", "sad", "angry", "surprised")),
    "iemocap": (20, 4, ("neutral", "happy", "angry", "frustrated")),
    "meld": (9, 2, ("neutral", "happy", "angry")),
    "nemo": (30, 5, ("neutral", "happy", "sad", "angry", "fearful", "surprised")),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_layout_is_read_with_speakers_and_labels(corpora, name):
    corpus = read_corpus(f"{name}={corpora / name}")
    assert (len(corpus.clips), len(corpus.speakers), corpus.labels) == EXPECTED[name]
    assert len(corpus.foreign) == (4 if name == "iemocap" else 0)  # without a label
    assert not corpus.repeated
    assert len({clip.name for clip in corpus.clips}) == len(corpus.clips)


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_archive_gives_the_same_clips_as_its_folder(corpora, name, tmp_path):
    with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
        for file in sorted((corpora / name).rglob("*")):
            if file.is_file():
                archive.write(
                    file, Path("Upstream folder") / file.relative_to(corpora / name)
                )
        archive.writestr("__MACOSX/Upstream folder/._x.wav", b"junk")
    folder = read_corpus(f"{name}={corpora / name}")
    for place in (tmp_path / f"{name}.zip", tmp_path):
        packed = read_corpus(f"{name}={place}")
        assert {(c.name, c.speaker, c.sex, c.label) for c in packed.clips} == {
            (c.name, c.speaker, c.sex, c.label) for c in folder.clips
        }
    both = [
        load_utterances(c.clips[:3], 8000, False, iter)[0] for c in (folder, packed)
    ]
    for one, two in zip(
        *(sorted(part, key=lambda u: u.clip.name) for part in both), strict=True
    ):
        assert (one.waveform == two.waveform).all()


def test_a_published_corpus_is_recognised_by_its_path_alone(corpora, tmp_path):
    for name in PUBLISHED:
        assert read_corpus(str(corpora / name)).name == name
    write_clip(tmp_path / "happy" / "x", 0)
    with pytest.raises(CorpusError, match="not recognised as a published corpus"):
        read_corpus(str(tmp_path))


def test_speaker_and_sex_are_parsed_from_clip_names(corpora):
    sexes = {
        c.speaker: c.sex
        for name in PUBLISHED
        for c in read_corpus(f"{name}={corpora / name}").clips
    }
    assert (sexes["ravdess/08"], sexes["ravdess/17"]) == ("f", "m")
    assert (sexes["nemo/AB0"], sexes["nemo/CD0"]) == ("m", "f")
    assert (sexes["crema-d/1001"], sexes["crema-d/1002"]) == ("m", "f")
    assert (sexes["emodb/03"], sexes["emodb/08"]) == ("m", "f")
    assert (sexes["ased/04"], sexes["ased/39"]) == ("f", "m")
    assert (sexes["casia/liuchanhg"], sexes["casia/wangzhe"]) == ("f", "m")
    assert (sexes["iemocap/1F"], sexes["iemocap/1M"]) == ("f", "m")
    # The speakers and singers are the same people.
    speech, song = (
        read_corpus(f"{name}={corpora / name}").speakers
        for name in ("ravdess", "ravdess-song")
    )
    assert speech == song


def test_predictable_clip_names_match_the_published_number():
    for name, layout in LAYOUTS.items():
        assert len(layout.names) in (0, layout.n_published), name
        assert all(layout.parse(PurePosixPath(stem)) for stem in layout.names)


def test_missing_repeated_and_foreign_files_are_listed(corpora, tmp_path):
    write_clip(tmp_path / "Actor_02" / "03-01-01-01-01-01-02", 1)
    write_clip(
        tmp_path / "audio_speech_actors_01-24" / "Actor_02" / "03-01-01-01-01-01-02", 1
    )
    write_clip(tmp_path / "Actor_02" / "interview", 2)
    corpus = read_corpus(f"ravdess={tmp_path}")
    assert len(corpus.clips) == 1
    assert len(corpus.missing) == 1439
    assert len(corpus.repeated) == 1
    assert corpus.foreign[0].endswith("interview.wav")


def test_label_folders_may_contain_speaker_folders(tmp_path):
    for seed, (label, speaker) in enumerate(
        product(("Anger", "happiness"), ("ann", "bob"))
    ):
        write_clip(tmp_path / "mine" / label / speaker / "x", seed)
    write_clip(tmp_path / "mine" / "Anger" / "nobody", 5)
    write_clip(tmp_path / "mine" / "stray", 6)
    corpus = read_corpus(f"folder={tmp_path / 'mine'}")
    assert corpus.labels == ("happy", "angry")
    assert corpus.speakers == ("mine/ann", "mine/bob", "mine/unknown")
    assert len(corpus.foreign) == 1


def test_an_audformat_database_is_read_with_speakers_and_labels(tmp_path):
    import audformat

    write_clip(tmp_path / "a", 0, seconds=2)
    write_clip(tmp_path / "b", 1)
    database = audformat.Database("mine", license="CC0-1.0")
    whole = database["files"] = audformat.Table(
        audformat.filewise_index(["a.wav", "b.wav"])
    )
    whole["emotion"], whole["speaker"] = audformat.Column(), audformat.Column()
    whole["emotion"].set(["anger", "happiness"])
    whole["speaker"].set(["ann", None])
    parts = database["parts"] = audformat.Table(
        audformat.segmented_index(["a.wav"], ["0.5s"], ["1s"])
    )
    parts["emotion"] = audformat.Column()
    parts["emotion"].set(["sad"])
    database.save(str(tmp_path))
    corpus = read_corpus(f"audformat={tmp_path}")
    assert (corpus.name, corpus.licence) == ("mine", "CC0-1.0")
    assert [(c.label, c.speaker, c.start_s, c.end_s) for c in corpus.clips] == [
        ("angry", "mine/ann", 0.0, None),
        ("happy", "mine/unknown", 0.0, None),
        ("sad", "mine/unknown", 0.5, 1.0),
    ]
    with pytest.raises(CorpusError, match="not an audformat database"):
        read_corpus(f"audformat={tmp_path / 'none'}")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_table_may_name_clips_speakers_and_intervals(tmp_path, delimiter):
    write_clip(tmp_path / "calls" / "a", 0, seconds=3)
    rows = [
        ("Path", "label", "speaker", "start_s", "end_s"),
        ("calls/a.wav", "anger", "ann", "0.5", "1.25"),
        ("calls/a.wav", "neutral", "bob", "2", ""),
        ("calls/gone.wav", "sad", "bob", "", ""),
    ]
    table = tmp_path / "labels.csv"
    table.write_text(
        "\ufeff" + "\r\n".join(delimiter.join(row) for row in rows), encoding="utf-8"
    )
    corpus = read_corpus(f"csv={table}")
    assert [(c.label, c.speaker) for c in corpus.clips] == [
        ("angry", "labels/ann"),
        ("neutral", "labels/bob"),
    ]
    assert corpus.missing == ("calls/gone.wav",)
    utterances, broken = load_utterances(corpus.clips, 8000, False, iter)
    assert [len(u.waveform) for u in utterances] == [6000, 8000]
    assert not broken


def test_an_invalid_table_is_refused_with_the_line(tmp_path):
    write_clip(tmp_path / "a", 0)
    for text, message in (
        ("file,label\na.wav,sad\n", "column 'path' is missing; found: file, label"),
        (
            "path,label,start_s,end_s\na.wav,sad,2,1\n",
            "line 2: end_s .1. must be after start_s",
        ),
        (
            "path,label,start_s\na.wav,sad,soon\n",
            "'soon' is not a valid time in seconds",
        ),
        ("path,label\na.wav,\n", "line 2: path and label must not be empty"),
        ("path,label\nb.wav,sad\n", "no clips of t found.*for example b.wav"),
        ("", "column 'path' is missing"),
    ):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(CorpusError, match=message):
            read_corpus(f"csv={tmp_path / 't.csv'}")
    (tmp_path / "t.csv").write_bytes("path,label\nä.wav,sad\n".encode("latin-1"))
    with pytest.raises(CorpusError, match="not UTF-8"):
        read_corpus(f"csv={tmp_path / 't.csv'}")


def test_an_invalid_corpus_is_refused_with_a_reason(corpora, tmp_path):
    (tmp_path / "empty").mkdir()
    write_clip(tmp_path / "bad" / "OAF_back_bored", 0)
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and then nothing")
    (tmp_path / "nemo").mkdir()
    (tmp_path / "nemo" / "data.tsv").write_text(
        "file_id\temotion\tspeaker_id\tgender\nx.wav\trage\tAB0\tmale\n"
    )
    for spec, message in (
        ("msp-podcast=x", "NAME is one of ravdess"),
        ("ravdess", "give a corpus as NAME=DIR"),
        (f"ravdess={tmp_path / 'empty'}", "no clips of RAVDESS"),
        (f"ravdess={tmp_path / 'absent'}", "no such folder or zip archive"),
        (f"ravdess={tmp_path / 'broken.zip'}", "archive cannot be read"),
        (f"tess={tmp_path / 'bad'}", "for example .*OAF_back_bored.wav"),
        (f"nemo={tmp_path / 'empty'}", "data.tsv"),
        (f"nemo={tmp_path / 'nemo'}", "line 2: unknown emotion 'rage'"),
        (f"csv={tmp_path / 'none.csv'}", "no such file"),
    ):
        with pytest.raises(CorpusError, match=message):
            read_corpus(spec)
    with pytest.raises(CorpusError, match="given twice"):
        read_corpora([f"ravdess={corpora / 'ravdess'}"] * 2)


def test_archive_members_with_paths_outside_are_never_written(tmp_path):
    clip = write_clip(tmp_path / "x", 0).read_bytes()
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../../outside/03-01-01-01-01-01-02.wav", clip)
        archive.writestr("/outside/03-01-02-01-01-01-02.wav", clip)
    corpus = read_corpus(f"ravdess={tmp_path / 'evil.zip'}")
    assert len(load_utterances(corpus.clips, 8000, False, iter)[0]) == 2
    assert not list(tmp_path.parent.rglob("outside"))


def test_custom_labels_can_be_mapped_excluded_or_kept(tmp_path):
    for i, label in enumerate(("frustrated", "happy", "neutral")):
        write_clip(tmp_path / label / "ann" / "x", i)
    mine = read_corpus(f"folder={tmp_path}")
    with pytest.raises(
        CorpusError, match="unknown label 'frustrated' .1 clips.*--map frustrated=LABEL"
    ):
        with_labels([mine], None, {}, PUBLISHED)
    _, labels, _ = with_labels([mine], None, {"frustrated": "angry"}, PUBLISHED)
    assert labels == ("neutral", "happy", "angry")
    [kept], labels, notes = with_labels([mine], None, {"frustrated": ""}, PUBLISHED)
    assert (labels, len(kept.clips)) == (("neutral", "happy"), 2)
    assert "1 clips excluded" in notes[0]
    [kept], labels, notes = with_labels(
        [mine], ["frustrated", "neutral"], {}, PUBLISHED
    )
    assert (labels, len(kept.clips)) == (("frustrated", "neutral"), 2)
    assert "'happy' is not a label of the model" in notes[0]
    with pytest.raises(CorpusError, match="no clip has this label"):
        with_labels([mine], None, {"cross": "angry"}, PUBLISHED)
    with pytest.raises(
        CorpusError,
        match="no clips left: the labels of the corpora are frustrated, happy, neutral",
    ):
        with_labels([mine], ["bored"], {}, PUBLISHED)
    with pytest.raises(
        CorpusError,
        match="unknown label 'frustrated'.*the labels of the model are happy, neutral",
    ):
        with_labels([mine], ["happy", "neutral"], {}, PUBLISHED, leave_out=False)
    _, labels, _ = with_labels([mine], None, {"Frustrated": "Anger"}, PUBLISHED)
    assert labels == ("neutral", "happy", "angry")


def test_a_corpus_without_any_label_of_the_model_is_dropped_with_a_note(
    corpora, tmp_path
):
    write_clip(tmp_path / "mine" / "angry" / "ann" / "x", 0)
    both = read_corpora([f"tess={corpora / 'tess'}", f"folder={tmp_path / 'mine'}"])
    kept, _, notes = with_labels(both, ["sad", "happy"], {}, PUBLISHED)
    assert [corpus.name for corpus in kept] == ["tess"]
    assert "mine: 1 clips excluded, 'angry' is not a label of the model" in notes


def test_a_corpus_keeps_its_vocabulary_when_labels_are_excluded(corpora):
    # RAVDESS has a label for calm, so its neutral excludes calm even without calm
    # clips.
    [kept], _, _ = with_labels(
        [read_corpus(f"ravdess={corpora / 'ravdess'}")], None, {"calm": ""}, PUBLISHED
    )
    assert "calm" in kept.vocabulary
    assert "calm" not in kept.labels


def test_short_rows_and_unclosed_quotes_are_refused_with_the_line(tmp_path):
    write_clip(tmp_path / "a", 0)
    for text, message in (
        ("path,label\na.wav\n", "line 2: path and label must not be empty"),
        (
            'path,label\na.wav,"' + "x" * 200_000,
            "line 1: field larger than field limit",
        ),
    ):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(CorpusError, match=message):
            read_corpus(f"csv={tmp_path / 't.csv'}")


def test_damaged_and_oversized_archive_members_are_excluded_with_a_reason(
    tmp_path, monkeypatch
):
    clip = write_clip(tmp_path / "x", 0, seconds=2).read_bytes()
    with zipfile.ZipFile(tmp_path / "r.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for emotion in (1, 2):
            archive.writestr(f"03-01-0{emotion}-01-01-01-02.wav", clip)
    data = bytearray((tmp_path / "r.zip").read_bytes())
    data[200:260] = bytes(60)  # inside the first member
    (tmp_path / "r.zip").write_bytes(data)
    loaded, broken = load_utterances(
        read_corpus(f"ravdess={tmp_path / 'r.zip'}").clips, 8000, False, iter
    )
    assert len(loaded) == 1
    assert "cannot be read from its archive" in next(iter(broken.values()))
    monkeypatch.setattr("ser_batch.training.corpora.files.MEMBER_BYTES", 1000)
    loaded, broken = load_utterances(
        read_corpus(f"ravdess={tmp_path / 'r.zip'}").clips, 8000, False, iter
    )
    assert not loaded
    assert all("its stated size exceeds" in reason for reason in broken.values())


def test_label_folders_are_read_from_any_directory_and_from_archives(
    tmp_path, monkeypatch
):
    folder = tmp_path / "mine"
    for seed, label in enumerate(("sad", "happy")):
        write_clip(folder / label / "ann" / "x", seed)
    write_clip(folder / ".cache" / "sad" / "y", 7)
    monkeypatch.chdir(folder)
    for spec in ("folder=.", f"folder={folder}"):
        corpus = read_corpus(spec)
        assert (corpus.labels, corpus.speakers) == (("happy", "sad"), ("mine/ann",))
    monkeypatch.chdir(tmp_path)
    (folder / ".cache" / "sad" / "y.wav").unlink()
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for file in sorted(folder.rglob("*.wav")):
            archive.write(file, Path("my corpus") / file.relative_to(folder))
    corpus = read_corpus("folder=mine.zip")
    assert (corpus.labels, corpus.speakers) == (("happy", "sad"), ("mine/ann",))


def test_bored_clips_of_emodb_are_excluded_with_a_note(corpora):
    [kept], labels, notes = with_labels(
        [read_corpus(f"emodb={corpora / 'emodb'}")], None, {}, PUBLISHED
    )
    assert "bored" not in labels
    assert len(kept.clips) == 30
    assert notes == ["EmoDB: 5 clips excluded, 'bored' is not a label of the model"]


def test_damaged_clips_and_duplicates_of_other_speakers_are_excluded(corpora, tmp_path):
    folder = tmp_path / "mine"
    for i, (speaker, label) in enumerate(
        (("ann", "sad"), ("ann", "happy"), ("bob", "sad"), ("cy", "happy"))
    ):
        write_clip(folder / label / speaker / f"{i}", 1 if i in (0, 2) else i + 10)
    write_clip(folder / "sad" / "ann" / "again", 1)
    (folder / "sad" / "cy").mkdir()
    (folder / "sad" / "cy" / "torn.wav").write_bytes(b"RIFF and no more")
    material = prepare([f"folder={folder}"], 8000, False)
    names = {clip.name for clip in material.utterances}
    # Bob's clip is a copy of Ann's. Ann's own copy is kept, with a note.
    assert len(names) == 4
    assert "torn" not in names
    assert any("torn.wav: excluded" in note for note in material.notes)
    assert sum("the same recording as" in note for note in material.notes) == 2
    assert {clip.speaker for clip in material.utterances} == {"mine/ann", "mine/cy"}


def test_duplicates_are_found_across_corpora(corpora):
    one = load_utterances(
        read_corpus(f"tess={corpora / 'tess'}").clips, 8000, False, iter
    )[0]
    assert duplicates(one) == []
    pairs = duplicates(one + one[:1])
    assert pairs == []  # a clip is not a duplicate of itself


def test_corpus_check_prints_a_summary_and_problems(corpora, tmp_path):
    said = ser("corpus", "check", corpora / "crema-d")
    assert said.returncode == 0, said.stderr
    assert "36 of 7442" in said.stdout
    assert "6: 3 women, 3 men" in said.stdout
    folder = tmp_path / "r"
    write_clip(folder / "03-01-01-01-01-01-02", 1)
    (folder / "03-01-02-01-01-01-02.wav").write_bytes(b"")
    said = ser("corpus", "check", f"ravdess={folder}")
    assert said.returncode == 3
    assert "missing" in said.stdout
    assert "1438" in said.stdout
    assert "the file is empty" in " ".join(said.stdout.split())
    assert ser("corpus", "check", tmp_path / "none").returncode == 2

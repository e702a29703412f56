"""What labellers answer is kept at once, and nothing is lost or led."""

import json
import os

import pytest
from starlette.testclient import TestClient

from ser_batch.addresses import Address
from ser_batch.errors import UsageError
from ser_batch.labelling.answers import Answer, answer_file
from ser_batch.labelling.serving import label_app, serve_session
from ser_batch.labelling.session import Session
from tests.support.labels import labelled


@pytest.fixture
def session(tmp_path):
    return Session(labelled(tmp_path, 10), "kim")


def client(session: Session) -> TestClient:
    app, path = label_app(session, ["127.0.0.1"])
    return TestClient(app, base_url=f"http://127.0.0.1{path}")


def test_an_answer_is_on_disk_before_the_next_clip_is_named(session):
    first, second = session.labelling.segments["clip"][:2]
    page = client(session)
    answered = page.post("answers", json={"clip": first, "label": "angry"}).json()
    assert answered["clip"] == second
    assert answered["last"] == "angry"
    kept = answer_file(session.labelling.folder, "kim").read()
    assert kept[first].label == "angry"
    assert kept[first].at


def test_a_labeller_resumes_where_they_stopped(session):
    clips = list(session.labelling.segments["clip"])
    session.answer(Answer(clips[0], "angry"))
    session.answer(Answer(clips[1], unusable=True))
    session.answer(Answer(clips[2]))
    again = Session(session.labelling, "kim").state()
    assert (again["clip"], again["done"]) == (clips[3], 3)
    assert Session(session.labelling, "lee").state()["clip"] == clips[0]


def test_undo_takes_answers_back_one_by_one(session):
    clips = list(session.labelling.segments["clip"])
    for clip in clips[:2]:
        session.answer(Answer(clip, "happy"))
    session.undo()
    assert session.state()["clip"] == clips[1]
    session.undo()
    session.undo()  # nothing is left: nothing happens
    assert session.state()["clip"] == clips[0]
    assert answer_file(session.labelling.folder, "kim").read() == {}


def test_a_line_that_a_crash_cut_off_is_ignored(session):
    clips = list(session.labelling.segments["clip"])
    session.answer(Answer(clips[0], "angry"))
    path = session.labelling.folder / "answers" / "kim.jsonl"
    path.write_bytes(path.read_bytes() + b'{"clip": "' + clips[1][:5].encode())
    again = Session(session.labelling, "kim")
    assert again.state()["clip"] == clips[1]
    again.answer(Answer(clips[1], "happy"))
    assert Session(session.labelling, "kim").state()["done"] == 2


def test_an_answer_that_cannot_be_written_is_not_kept_and_is_reported(
    session, monkeypatch
):
    clips = list(session.labelling.segments["clip"])
    session.answer(Answer(clips[0], "angry"))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    told = client(session).post("answers", json={"clip": clips[1], "label": "happy"})
    monkeypatch.undo()
    assert told.status_code == 507
    assert "No space left" in told.json()["error"]
    assert session.state()["clip"] == clips[1]
    assert list(answer_file(session.labelling.folder, "kim").read()) == [clips[0]]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"clip": "../../etc/passwd", "label": "angry"}, "no such clip"),
        ({"clip": None}, "Expected `str`"),
        ({"label": "angry"}, "required field `clip`"),
        ({"clip": "FIRST", "label": "furious"}, "no such label"),
        ({"clip": "FIRST", "label": "angry", "arousal": 3}, "-2 to 2"),
    ],
)
def test_an_answer_to_nothing_is_refused(session, answer, why):
    first = session.labelling.segments["clip"][0]
    body = {k: first if v == "FIRST" else v for k, v in answer.items()}
    told = client(session).post("answers", json=body)
    assert told.status_code == 400
    assert why in told.json()["error"]
    assert session.state()["done"] == 0


def test_what_labellers_see_says_nothing_of_the_models_predictions(session):
    page = client(session)
    state = page.get("state").json()
    assert not any(key.startswith("p_") or key == "predicted" for key in state)
    assert set(state["labels"]) == set(session.labelling.record.labels)
    assert page.get(f"clips/{state['clip']}").headers["content-type"] == "audio/flac"


def test_nothing_is_served_without_the_token_or_under_another_name(session):
    app, path = label_app(session, ["127.0.0.1"])
    here = TestClient(app, base_url="http://127.0.0.1")
    assert here.get(path).status_code == 200
    for other in ("/", "/state", "/x" + path[2:], f"{path}clips/..%2f..%2fx"):
        assert here.get(other).status_code == 404, other
    elsewhere = TestClient(app, base_url="http://evil.example")
    assert elsewhere.get(path).status_code == 400
    # A form on another page could send text, but not JSON.
    clip = session.labelling.segments["clip"][0]
    body = json.dumps({"clip": clip, "label": "angry"})
    sent = here.post(
        f"{path}answers", content=body, headers={"content-type": "text/plain"}
    )
    assert sent.status_code == 415
    assert session.state()["done"] == 0


def test_another_host_needs_tls(session):
    for given in ({"host": "0.0.0.0"}, {"key": "key.pem"}):
        with pytest.raises(UsageError, match="--tls-certificate"):
            Address(**given)


def test_a_port_in_use_is_a_clear_error(session):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port {port}"):
            serve_session(session, Address(port=port), print)


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "x" * 101, "é" * 51])
def test_a_name_that_is_no_file_name_is_refused(session, name):
    with pytest.raises(UsageError, match="--labeller"):
        Session(session.labelling, name)

"""Labelling in a real browser, by keyboard alone."""

import os
import re
import signal
import subprocess

import pytest

from ser_batch.labelling.answers import answer_file
from tests.support.commands import command_line
from tests.support.labels import labelled
from tests.support.pages import browser_needed
from tests.support.paths import ROOT


@pytest.fixture
def serve():
    """Return a function that starts `ser label serve`, and gives its page's address."""
    started = []

    def start(*arguments: object) -> str:
        process = subprocess.Popen(
            command_line("label", "serve", *arguments),
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        found = re.search(r"http\S+", process.stdout.readline())
        assert found
        return found[0]

    start.processes = started
    yield start
    for process in started:
        process.kill()
        process.wait()


def opened(chromium, address: str):
    page = chromium.new_page()
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#choices button")
    return page


def shown(page) -> str:
    return page.inner_text("body") + (page.get_attribute("#clip", "src") or "")


def press(page, keys: str) -> None:
    """Press keys one after the other, each once the page shows what it asks."""
    for key in keys:
        before = shown(page)
        page.keyboard.press("Space" if key == " " else key)
        for _ in range(100):
            if key == " " or shown(page) != before:
                break
            page.wait_for_timeout(20)
        else:
            pytest.fail(f"{key} did nothing")


@browser_needed
def test_clips_are_labelled_by_keyboard_alone(tmp_path, chromium, serve):
    labelling = labelled(tmp_path, 4)
    page = opened(chromium, serve(labelling.folder, "--labeller", "kim"))
    clips = list(labelling.segments["clip"])
    names = labelling.record.labels
    press(page, "3 u2sx")
    assert page.locator("#count").inner_text().startswith("3 of 4")
    press(page, "1")
    assert "last one" in page.inner_text("#question")
    kept = answer_file(labelling.folder, "kim").read()
    assert kept[clips[0]].label == names[1]
    assert kept[clips[1]].label is None
    assert kept[clips[2]].unusable
    assert kept[clips[3]].label == names[0]
    press(page, "u")
    assert page.locator("#count").inner_text().startswith("3 of 4")
    assert page.complaints == []


@browser_needed
def test_the_clip_plays_once_a_key_was_pressed(tmp_path, chromium, serve):
    labelling = labelled(tmp_path, 4)
    page = opened(chromium, serve(labelling.folder, "--labeller", "kim"))
    press(page, "1")
    for _ in range(100):
        if page.eval_on_selector("#clip", "own => own.currentTime") > 0:
            break
        page.wait_for_timeout(50)
    else:
        pytest.fail("the second clip does not play")
    assert labelling.segments["clip"][1] in page.get_attribute("#clip", "src")


@browser_needed
def test_arousal_and_valence_are_asked_for_if_wanted(tmp_path, chromium, serve):
    labelling = labelled(tmp_path, 4)
    address = serve(labelling.folder, "--labeller", "kim", "--dimensions")
    page = opened(chromium, address)
    press(page, "2")
    assert page.inner_text("#question") == "How excited?"
    press(page, "5u2" + "51")
    answer = answer_file(labelling.folder, "kim").read()[labelling.segments["clip"][0]]
    assert (answer.label, answer.arousal, answer.valence) == (
        labelling.record.labels[1], 2, -2
    )  # fmt: skip
    assert page.complaints == []


@browser_needed
def test_a_killed_server_loses_nothing(tmp_path, chromium, serve):
    labelling = labelled(tmp_path, 6)
    page = opened(chromium, serve(labelling.folder, "--labeller", "kim"))
    press(page, "12")
    serve.processes[0].send_signal(signal.SIGKILL)
    serve.processes[0].wait()
    page.keyboard.press("3")
    page.wait_for_function("() => document.getElementById('error').textContent")
    assert page.inner_text("#error").startswith("Not kept")
    again = opened(chromium, serve(labelling.folder, "--labeller", "kim"))
    assert again.locator("#count").inner_text().startswith("2 of 6")
    assert len(answer_file(labelling.folder, "kim").read()) == 2

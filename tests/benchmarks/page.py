"""How fast the HTML report is with many calls, in Chromium.

    python tests/benchmarks/page.py [--calls 10000]

Writes results with this many calls and their report as a single file, opens it, filters
it by one letter after another, and prints the size of the file, the time until it is
ready, and the time from a change of the search to the next frame. The reference is a
loop of additions in the same browser, in the same run.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[2]))

from ser_batch.metadata.gathering import MetadataInputs
from ser_batch.reporting.figures.overview import make_report
from ser_batch.reporting.figures.selection import Options
from ser_batch.reporting.pages.html import write_html
from ser_batch.results.results import open_results
from tests.support.results import call, write_results

QUEUES = ("billing", "delivery", "sales", "support")
TURNS, TURN_S = 22, 8.0
REFERENCE = """() => {
    const start = performance.now();
    let sum = 0;
    for (let i = 0; i < 1e8; i++) sum += i % 7;
    return [performance.now() - start, sum][0];
}"""
FILTER = """(text) => new Promise((resolve) => {
    const search = document.getElementById("search");
    const count = document.getElementById("count");
    const start = performance.now();
    new MutationObserver((_, observer) => {
        observer.disconnect();
        requestAnimationFrame(() => resolve(performance.now() - start));
    }).observe(count, { childList: true });
    search.value = text;
    search.dispatchEvent(new Event("input"));
})"""
WAIT_MS = 120
"""How long the page waits for the next letter, which is not counted."""


def written(folder: Path, n: int) -> Path:
    """Write results of `n` calls, and their report."""
    rng = np.random.default_rng(0)
    calls, rows = [], ["path,queue,agent,started_at"]
    for i in range(n):
        queue, agent = QUEUES[i % len(QUEUES)], f"agent {rng.integers(100):03}"
        path = f"{queue}/{rng.integers(10**9):09}_{i:06}.wav"
        starts = TURN_S * np.arange(TURNS)
        p = rng.beta(1, 6, TURNS)
        scored = [
            (t, t + 3, {"angry": 0.8 * q}) for t, q in zip(starts, p, strict=True)
        ]
        speech = [(t, t + 3) for t in starts]
        own = call(path, [(t + 4, t + 7) for t in starts], speech, scored, 180.0)
        curves = rng.integers(0, 200, (2, 600)).astype(np.uint8)
        own.recording["level_curves"] = [curve.tobytes() for curve in curves]
        calls.append(own)
        day, hour = 1 + i % 28, 8 + i % 10
        rows.append(f"{path},{queue},{agent},2026-03-{day:02}T{hour:02}:00:00")
    results = write_results(folder / "out", *calls, parts=max(1, n // 500))
    (folder / "calls.csv").write_text("\n".join(rows) + "\n")
    options = Options(inputs=MetadataInputs(folder / "calls.csv"))
    start = time.perf_counter()
    with make_report(open_results(results), options) as opened:
        page = write_html(opened, str(folder / "report.html"))
    took_s = time.perf_counter() - start
    print(f"{n:,} calls: {page.stat().st_size / 1e6:.1f} MB, written in {took_s:.1f} s")
    return page


def measure(page: Page, address: str) -> None:
    """Open the page, filter it, and print the times."""
    reference_ms = min(page.evaluate(REFERENCE) for _ in range(3))
    start = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    ready_ms = 1000 * (time.perf_counter() - start)
    typed = ["b", "bi", "bil", "agent 01", "nothing like it", ""]
    times = [page.evaluate(FILTER, text) - WAIT_MS for text in typed]
    print(f"reference: {reference_ms:.0f} ms")
    for name, value in (
        ("ready", ready_ms),
        ("filter, median", float(np.median(times))),
        ("filter, slowest", max(times)),
    ):
        print(f"{name}: {value:.0f} ms, {value / reference_ms:.2f} of the reference")


def main() -> None:
    """Write, open and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as work, sync_playwright() as driver:
        page = written(Path(work), options.calls)
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
        context = browser.new_context(
            viewport={"width": 1440, "height": 900}, bypass_csp=True
        )
        measure(context.new_page(), page.as_uri())
        browser.close()


if __name__ == "__main__":
    main()

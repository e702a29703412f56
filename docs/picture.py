"""The picture of the report in the README: `make picture` takes it with Chromium."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "_static" / "report.png"
SIZE = {"width": 1440, "height": 860}


def main() -> None:
    """Analyse the example calls, open the report with one of them, and take it."""
    calls = ["examples/calls", "--metadata", "examples/calls.csv"]
    with tempfile.TemporaryDirectory() as work, sync_playwright() as driver:
        results, page_file = f"{work}/results", Path(work) / "report.html"
        ser("analyze", *calls, "--roles", "agent,customer", "--out", results)
        ser("report", results, "--by", "queue", "--html", str(page_file))
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_context(viewport=SIZE).new_page()
        page.goto(f"{page_file.as_uri()}#sort=-concern")
        page.wait_for_selector("body[data-ready]")
        page.locator(".tabulator-row").first.click()
        page.wait_for_selector("#moments button")
        page.wait_for_timeout(500)
        page.mouse.move(0, 0)
        PICTURE.parent.mkdir(exist_ok=True)
        page.screenshot(path=PICTURE)
        browser.close()


def ser(*arguments: str) -> None:
    """Run a command; a broken example call gives the exit code 3."""
    command = [sys.executable, "-m", "ser_batch", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode not in (0, 3):
        sys.exit(done.stderr)


if __name__ == "__main__":
    main()

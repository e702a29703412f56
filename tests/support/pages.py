"""The HTML report in Chromium."""

import shutil
from pathlib import Path
from urllib.parse import unquote_plus

import pytest

from ser_batch.reporting.figures.overview import make_report
from ser_batch.reporting.figures.selection import Options
from ser_batch.reporting.pages.html import write_html
from ser_batch.results.results import open_results

CHROMIUM = (
    shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
browser_needed = pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
EVIL = '<script>document.title="owned"</script>"><img src=x onerror=alert(1)>.wav'
QUEUE = "<b onclick=alert(1)>vip</b></script><script>alert(2)</script>"


class Page:
    """A page opened from disk with the network off, with its errors and warnings."""

    def __init__(self, browser, path: Path, chosen: str = "", **options) -> None:
        self.complaints: list[str] = []
        context = browser.new_context(offline=True, **options)
        self.page = context.new_page()
        self.page.on(
            "console",
            lambda m: (
                self.complaints.append(m.text)
                if m.type in ("error", "warning")
                else None
            ),
        )
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on(
            "dialog",
            lambda d: (self.complaints.append(f"dialog: {d.message}"), d.dismiss()),
        )
        self.page.goto(path.as_uri() + chosen)
        self.page.wait_for_selector("body[data-ready]")

    def rows(self) -> list[str]:
        """Return the recordings of the rows in the document."""
        names = self.page.locator(".tabulator-row [tabulator-field=path] span")
        return [name.get_attribute("title") for name in names.all()]

    def search(self, text: str) -> None:
        """Search, and wait until the address says so."""
        self.page.fill("#search", text)
        self.until(
            lambda: (
                (f"q={text}" if text else "") in unquote_plus(self.page.url)
                and bool(text) == ("q=" in self.page.url)
            )
        )

    def until(self, holds) -> None:
        # The content security policy stops the driver from waiting for an expression.
        for _ in range(100):
            if holds():
                return
            self.page.wait_for_timeout(50)
        pytest.fail("nothing happened within five seconds")

    def count(self) -> str:
        return self.page.locator("#count").inner_text()


def write(results: Path, target: Path | str, recordings=None, **options) -> Path:
    with make_report(
        open_results(results), Options(**{"undated": True, **options})
    ) as opened:
        return write_html(opened, str(target), recordings)

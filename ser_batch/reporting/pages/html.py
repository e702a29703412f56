"""HTML reports that work offline: a single file, or a folder that loads data on demand.

Everything from the results is passed to the report as compressed JSON and shown as
text, never as markup. Only the report's own script may run: a content security policy
has its hash. The script is bundled when ser is installed; see hatch_build.py.
"""

import base64
import hashlib
import os
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from ser_batch.errors import UsageError
from ser_batch.reporting.figures.overview import Opened, Report
from ser_batch.reporting.pages.page_data import details, packed, report_data
from ser_batch.reporting.pages.recordings import Recordings
from ser_batch.reporting.pages.wording import changes
from ser_batch.storage.local import LocalStorage
from ser_batch.version import __version__

MAX_BYTES = 30_000_000
INSTEAD = "write to a folder with --html DIR/, or choose a period with --since"
CALL_BYTES, SEGMENT_BYTES = 1200, 24
"""About how much of the file a call takes, and each of its segments."""


def write_html(
    opened: Opened, target: str, recordings: Recordings | None = None
) -> Path:
    """Write the HTML report to a file, or to `DIR/index.html` with its data files.

    `target` is a folder if it ends with `/` or is an existing folder.

    Returns:
        The path of the HTML file.

    Raises:
        UsageError: the report cannot be written, or a single file would be too large.
    """
    page = page_path(target)
    is_folder = page != Path(target)
    if not is_folder:
        _refuse_if_large(opened, target)
    recordings = recordings or Recordings(page.parent)
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        storage = LocalStorage(page.parent)
        known: dict[str, dict[str, Any]] = {}
        chunks = details(opened, recordings, known)
        if is_folder:
            written = set()
            for i, chunk in enumerate(chunks):
                script = f'serChunk({i}, "{chunk}");\n'
                storage.put({f"calls/{i}.js": script.encode()})
                written.add(f"{i}.js")
            data = packed(report_data(opened, recordings, known))
            storage.put({"data.js": f'serData("{data}");\n'.encode()})
            storage.put({page.name: _page(opened.report, recordings, None, [])})
            # Details of calls that are no longer in the report.
            for path in (page.parent / "calls").glob("*.js"):
                if path.stem.isdigit() and path.name not in written:
                    path.unlink()
            recordings.finish()
            return page
        own = list(chunks)
        data = packed(report_data(opened, recordings, known))
        made = _page(opened.report, recordings, data, own)
        if len(made) > MAX_BYTES:
            raise UsageError(
                f"--html {target}: would be {len(made) / 1e6:.0f} MB; {INSTEAD}"
            )
        storage.put({page.name: made})
        recordings.finish()
    except OSError as error:
        raise UsageError(
            f"--html {target}: cannot be written: {error.strerror or error}; free some "
            "space or choose another location"
        ) from error
    return page


def page_path(target: str) -> Path:
    """Return the path of the HTML file for a target.

    Raises:
        UsageError: it is not a file that can be replaced.
    """
    is_folder = target.endswith(os.sep) or os.path.isdir(target)
    page = Path(target) / "index.html" if is_folder else Path(target)
    if not target or (os.path.lexists(page) and not os.path.isfile(page)):
        raise UsageError(
            f"--html {target!r}: is not a file that can be replaced; give a file, or a "
            "folder as DIR/"
        )
    return page


def _refuse_if_large(opened: Opened, target: str) -> None:
    """Refuse a file that would be too large, before the work is done."""
    calls, segments = opened.connection.execute(
        "SELECT count(*), coalesce(sum(segments), 0) FROM calls"
    ).fetchall()[0]
    size = calls * CALL_BYTES + int(segments) * SEGMENT_BYTES
    if size > MAX_BYTES:
        raise UsageError(
            f"--html {target}: {calls:,} calls would make a file of about "
            f"{size / 1e6:.0f} MB, above the limit of {MAX_BYTES / 1e6:.0f} MB; "
            f"{INSTEAD}"
        )


def _page(
    report: Report, recordings: Recordings, data: str | None, chunks: Iterable[str]
) -> bytes:
    """Render the HTML file; without data, it loads `data.js`."""
    source = files("ser_batch.reporting.pages") / "page"
    script, css = (_built(name) for name in ("page.js", "page.css"))
    digest = hashlib.sha256(script.encode()).digest()
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.from_string((source / "page.html.j2").read_text("utf-8"))
    return template.render(
        report=report,
        version=__version__,
        changes=changes(report),
        css=css,
        script=script,
        script_hash=f"'sha256-{base64.b64encode(digest).decode()}'",
        audio_host=recordings.origin,
        data=data,
        chunks=chunks,
    ).encode()


def _built(name: str) -> str:
    """Return a bundled file of the page.

    Raises:
        UsageError: it has not been bundled.
    """
    path = files("ser_batch.reporting.pages") / "page" / "built" / name
    try:
        # A closing tag in the script would end it; none is meant to.
        return path.read_text("utf-8").replace("</script", "<\\/script")
    except FileNotFoundError as error:
        raise UsageError(
            "the HTML page is missing from this installation; install ser again, with "
            "the npm registry reachable"
        ) from error

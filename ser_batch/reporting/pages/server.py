"""The HTML report on this machine's own address, with audio from where it lies."""

import secrets
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from types import FrameType
from typing import NoReturn

import soundfile
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ser_batch.errors import AudioError
from ser_batch.reporting.figures.database import rows_of, scan_sql
from ser_batch.reporting.figures.overview import Opened
from ser_batch.reporting.figures.timelines import Timeline
from ser_batch.reporting.pages.html import write_html
from ser_batch.reporting.pages.recordings import Recordings, write_opus

HOST = "127.0.0.1"
CONTAINERS = ("wav", "mp3", "mpeg", "ogg", "flac", "mov", "matroska")
CODECS = (
    "pcm_16", "pcm_u8", "ulaw", "alaw", "mp3", "mp3float", "mpeg_layer_iii", "opus",
    "vorbis", "flac", "aac",
)  # fmt: skip
"""What browsers play as it is; anything else is converted while it is asked for."""


@dataclass
class _Linked(Recordings):
    """Links every recording to the server."""

    paths: dict[str, tuple[Path, bool]] = field(default_factory=dict)
    """The file of each recording, and whether browsers play it."""

    def link(self, timeline: Timeline) -> str | None:
        recording_id = timeline.call["recording_id"]
        known = self.paths.get(recording_id)
        if known is None or not known[0].is_file():
            return None
        return f"audio/{recording_id}"


def report_app(opened: Opened, folder: Path) -> tuple[Starlette, str]:
    """Return an application that serves a report, and the path of its page.

    The path contains a random token, without which nothing is served; and nothing is
    served under the name of another host, which a page elsewhere could have given to
    this address.

    Args:
        opened: the report.
        folder: an empty folder for the page, and for converted recordings.
    """
    recordings = _Linked(folder, paths=_files(opened))
    write_html(opened, f"{folder}/page/", recordings)
    converted, lock = folder / "converted", Lock()
    converted.mkdir()

    def audio(request: Request) -> FileResponse:
        recording_id = request.path_params["recording_id"]
        if recording_id not in recordings.paths:
            raise HTTPException(404, "no such recording")
        path, is_playable = recordings.paths[recording_id]
        if not is_playable:
            copy = converted / f"{recording_id}.opus"
            with lock:
                if not copy.exists():
                    _convert(path, copy)
            path = copy
        if not path.is_file():
            raise HTTPException(404, "the recording is gone")
        return FileResponse(path)

    token = secrets.token_urlsafe(16)
    page = StaticFiles(directory=folder / "page", html=True)
    routes = [Route("/audio/{recording_id}", audio), Mount("/", page)]
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    return Starlette(routes=[Mount(f"/{token}", routes=routes)], middleware=[hosts]), (
        f"/{token}/"
    )


def serve(opened: Opened, on_start: Callable[[str], None]) -> None:
    """Serve a report on the loopback address until interrupted.

    Args:
        opened: the report.
        on_start: called with the address of the page.
    """

    def end(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    with tempfile.TemporaryDirectory(prefix="ser-report-") as work:
        app, path = report_app(opened, Path(work))
        # A browser that holds a recording open must not keep it from ending.
        config = uvicorn.Config(
            app, host=HOST, port=0, log_level="error", timeout_graceful_shutdown=1
        )
        server, socket = uvicorn.Server(config), config.bind_socket()
        on_start(f"http://{HOST}:{socket.getsockname()[1]}{path}")
        server.run(sockets=[socket])


def _files(opened: Opened) -> dict[str, tuple[Path, bool]]:
    """Return the file of each recording in the report, and whether browsers play it."""
    recordings = scan_sql(opened.results, "recordings")
    query = (
        f"SELECT recording_id, location, codec FROM {recordings} "
        "SEMI JOIN calls USING (recording_id) WHERE status = 'done'"
    )
    return {
        row["recording_id"]: (Path(row["location"]), _is_playable(row["codec"] or ""))
        for row in rows_of(opened.connection, query)
    }


def _is_playable(codec: str) -> bool:
    """Tell whether browsers play a container and codec, such as `wav/pcm_16`."""
    container, _, name = codec.partition("/")
    return container in CONTAINERS and name in CODECS


def _convert(path: Path, copy: Path) -> None:
    partial = copy.with_suffix(".partial")
    try:
        write_opus(path, partial)
    except AudioError as error:
        raise HTTPException(404, error.message) from error
    except soundfile.LibsndfileError as error:
        partial.unlink(missing_ok=True)
        raise HTTPException(507, "no space to convert the recording") from error
    partial.rename(copy)

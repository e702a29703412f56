"""The page on which a labeller listens and answers, on this machine's own address."""

import secrets
from collections.abc import Callable

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from ser_batch.addresses import Address, certificate_error, listening_socket
from ser_batch.errors import UsageError
from ser_batch.labelling.answers import Answer
from ser_batch.labelling.session import Session
from ser_batch.web_page import HEADERS, WebPage

MOST_BYTES = 10_000
PAGE = WebPage("ser_batch.labelling")


def label_app(session: Session, hosts: list[str]) -> tuple[Starlette, str]:
    """Return an application that serves a session, and the path of its page.

    The path contains a random token, without which nothing is served; and nothing is
    served under the name of another host.

    Args:
        session: a labeller's.
        hosts: the names under which it is served.
    """

    def page(request: Request) -> Response:
        return PAGE.file(request.path_params.get("name", ""))

    # Answers and states are made one at a time, in the server's own thread.
    async def state(request: Request) -> Response:
        return JSONResponse(session.state(), headers=HEADERS)

    async def answer(request: Request) -> Response:
        # A page elsewhere cannot send JSON here without asking first.
        if request.headers.get("content-type") != "application/json":
            raise HTTPException(415, "an answer is JSON")
        if int(request.headers.get("content-length", MOST_BYTES + 1)) > MOST_BYTES:
            raise HTTPException(413, "too long for an answer")
        body = await request.body()
        try:
            given = msgspec.json.decode(body, type=Answer)
            if given.undone:
                session.undo()
            else:
                session.answer(given)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            if isinstance(error, UsageError):
                raise HTTPException(507, str(error)) from error
            raise HTTPException(400, str(error)) from error
        return await state(request)

    def clip(request: Request) -> Response:
        name = request.path_params["clip"]
        path = session.labelling.clip_file(name)
        if name not in set(session.labelling.segments["clip"]) or not path.is_file():
            raise HTTPException(404, "the clip is gone")
        kept = HEADERS | {"Cache-Control": "private, max-age=600"}
        return FileResponse(path, media_type="audio/flac", headers=kept)

    def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse(
            {"error": error.detail}, status_code=error.status_code, headers=HEADERS
        )

    token = secrets.token_urlsafe(16)
    routes = [
        Route("/", page),
        Route("/state", state),
        Route("/answers", answer, methods=["POST"]),
        Route("/clips/{clip}", clip),
        Route("/{name:str}", page),
    ]
    trusted = Middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app = Starlette(
        routes=[Mount(f"/{token}", routes=routes)],
        middleware=[trusted],
        exception_handlers={HTTPException: problem},
    )
    return app, f"/{token}/"


def serve_session(
    session: Session, address: Address, on_start: Callable[[str], None]
) -> None:
    """Serve a session until interrupted.

    Args:
        session: a labeller's.
        address: where.
        on_start: called with the address of the page.

    Raises:
        UsageError: the port is in use, or a certificate cannot be read.
    """
    app, path = label_app(session, address.names)
    listening = listening_socket(address)
    config = uvicorn.Config(
        app,
        log_level="error",
        timeout_graceful_shutdown=1,
        ssl_certfile=address.certificate,
        ssl_keyfile=address.key,
    )
    try:
        config.load()
    except OSError as error:
        raise certificate_error(address, error) from error
    on_start(address.url(listening.getsockname()[1]) + path)
    uvicorn.Server(config).run(sockets=[listening])

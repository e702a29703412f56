"""Connections that say nothing do not keep others out."""

import asyncio
import socket

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.websockets import WebSocketDisconnect

pytest.importorskip("prometheus_client", reason="the extra `live` is not installed")

from ser_batch.errors import UsageError
from ser_batch.live.server import connections
from ser_batch.live.server.connections import Complaints, PromptHttp, most_connections
from ser_batch.live.server.endings import LOST, WRONG, Ending, ending_of
from tests.support.waiting import in_own_loop

MOST = 8


def served(work) -> None:
    """Run something with the port of a small server."""

    async def run() -> None:
        app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("here"))])
        config = uvicorn.Config(
            app, log_level="error", http=PromptHttp, limit_concurrency=MOST
        )
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            while not server.started:
                await asyncio.sleep(0.01)
            try:
                await work(listening.getsockname()[1])
            finally:
                server.should_exit = True
                await serving

    in_own_loop(run())


async def answer(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("said", [b"", b"GET / HT"])
def test_a_connection_that_makes_no_request_is_closed(said, monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_S", 0.1)

    async def work(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asyncio.wait_for(reader.readexactly(1), 30)
        assert b"here" in await answer(port)

    served(work)


def test_after_a_request_a_connection_that_begins_another_is_closed_too(monkeypatch):
    """Its first byte ends uvicorn's own wait for it."""
    monkeypatch.setattr(connections, "REQUEST_S", 0.1)

    async def work(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            await reader.readuntil(b"here")
        writer.write(b"G")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asyncio.wait_for(reader.readexactly(1), 2)

    served(work)


def test_connections_that_are_too_many_are_closed_until_others_end():
    async def work(port: int) -> None:
        idle = [
            (await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(MOST)
        ]
        assert await answer(port) == b""
        for writer in idle:
            writer.close()
            await writer.wait_closed()
        for _ in range(1000):
            if b"here" in await answer(port):
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("the server takes no connections any more")

    served(work)


def test_there_are_files_left_for_other_things_than_connections(monkeypatch):
    limits = {"own": (256, 512)}

    def set_limit(_, pair):
        limits["own"] = pair

    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: limits["own"])
    monkeypatch.setattr(connections.resource, "setrlimit", set_limit)
    assert most_connections() == 512 - connections.OTHER_FILES
    assert limits["own"] == (512, 512)
    limits["own"] = (1024, connections.resource.RLIM_INFINITY)
    assert most_connections() == connections.MOST_CONNECTIONS
    assert limits["own"][0] == connections.MOST_CONNECTIONS + connections.OTHER_FILES


def test_the_same_complaint_is_logged_once_a_minute(caplog, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(connections.time, "monotonic", lambda: now[0])
    complain = Complaints()
    for seconds in (0.0, 1.0, 59.0, 61.0):
        now[0] = 1000.0 + seconds
        complain(None, {"message": "too many files", "exception": OSError("odd")})
    assert [own.message for own in caplog.records] == [
        "too many files: OSError('odd')"
    ] * 2


@pytest.mark.parametrize(
    ("error", "note", "code"),
    [
        (WebSocketDisconnect(1000), "", None),
        (WebSocketDisconnect(1001), "", None),
        (WebSocketDisconnect(1005), "", None),
        (WebSocketDisconnect(1006), LOST, None),
        (ConnectionResetError(), LOST, None),
        (RecursionError("too deep"), WRONG, 1007),
        (UsageError("no such rate"), "", 1008),
        (KeyError("odd"), "cut off: an unexpected error", 1011),
    ],
)
def test_each_error_ends_a_call_in_its_way(error, note, code):
    ending = ending_of(error)
    assert (ending.note, ending.code) == (note, code)


def test_the_reason_fits_into_the_frame_that_closes_a_socket():
    told = []

    class Socket:
        async def close(self, code, reason):
            told.append(reason)

    in_own_loop(Ending(code=1007, reason="\U0001d49c" * 200).close(Socket()))
    assert len(told[0].encode()) <= 123

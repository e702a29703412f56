"""Running the server: its sockets, and its end in order."""

import asyncio
import ipaddress
import signal
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn

from ser_batch.addresses import Address, certificate_error, listening_socket
from ser_batch.errors import UsageError
from ser_batch.live.encodings import Encoding, decode
from ser_batch.live.server.app import CUT, IDLE_S, Secrets, live_app
from ser_batch.live.server.hub import Hub, NoRoomError
from ser_batch.live.server.ledger import Ledger
from ser_batch.live.server.protocols import audiosocket
from ser_batch.live.server.protocols.audiosocket import Kind

MOST_BYTES = 1 << 20
"""Of one message."""


@dataclass(frozen=True, slots=True)
class AudioSocketAddress:
    """Where Asterisk connects to, and from where."""

    host: str
    port: int
    allowed: tuple[str, ...] = ("127.0.0.1",)
    """Addresses or networks: AudioSocket knows neither TLS nor tokens.

    Raises:
        UsageError: one is neither.
    """

    def __post_init__(self) -> None:
        for own in self.allowed:
            try:
                ipaddress.ip_network(own)
            except ValueError as error:
                raise UsageError(
                    f"--allow {own}: not an address or a network", option="--allow"
                ) from error

    def allows(self, peer: str) -> bool:
        """Return whether a peer may connect."""
        address = ipaddress.ip_address(peer)
        return any(address in ipaddress.ip_network(own) for own in self.allowed)


async def serve_calls(
    hub: Hub,
    address: Address,
    secrets: Secrets,
    ledger: Ledger | None,
    drain_s: float,
    on_start: Callable[[str], None],
    asterisk: AudioSocketAddress | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; then let calls end, for up to `drain_s`.

    Args:
        hub: the calls.
        address: where HTTP and WebSockets are served.
        secrets: what clients have to know.
        ledger: where calls are written.
        drain_s: after this time, calls that still go on are ended.
        on_start: called with the address.
        asterisk: where AudioSocket is served, if it is.

    Raises:
        UsageError: a port is in use, or a certificate cannot be read.
    """
    listening = listening_socket(address)
    config = uvicorn.Config(
        live_app(hub, address.names, secrets, ledger),
        log_level="error",
        ssl_certfile=address.certificate,
        ssl_keyfile=address.key,
        ws_max_size=MOST_BYTES,
        timeout_graceful_shutdown=5,
    )
    try:
        config.load()
    except OSError as error:
        raise certificate_error(address, error) from error
    hub.start()
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    sockets = None
    try:
        if asterisk is not None:
            sockets = await _serve_asterisk(hub, asterisk, ledger)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        # Instead of uvicorn's own, which would cut the calls off.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        on_start(address.url(listening.getsockname()[1]))
        await stop.wait()
    finally:
        await hub.drain(drain_s)
        server.should_exit = True
        if sockets is not None:
            sockets.close()
        await serving


async def _serve_asterisk(
    hub: Hub, asterisk: AudioSocketAddress, ledger: Ledger | None
) -> asyncio.Server:
    async def connected(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = writer.get_extra_info("peername")[0]
        if asterisk.allows(peer):
            await _follow(hub, reader, writer, ledger)
        writer.close()

    try:
        return await asyncio.start_server(connected, asterisk.host, asterisk.port)
    except OSError as error:
        raise UsageError(
            f"--audiosocket-port {asterisk.port}: cannot be used ({error.strerror})",
            option="--audiosocket-port",
        ) from error


async def _follow(
    hub: Hub,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    ledger: Ledger | None,
) -> None:
    """Take one call of AudioSocket."""
    call = None
    note = CUT.format("the connection was lost")
    try:
        first = await asyncio.wait_for(audiosocket.read_frame(reader), IDLE_S)
        call_id = audiosocket.call_id_of(first)
        call = hub.begin(call_id, "audiosocket", audiosocket.SAMPLE_RATE, 1)
        if ledger is not None:
            ledger.begin(call_id, "audiosocket")
        while True:
            frame = await asyncio.wait_for(audiosocket.read_frame(reader), IDLE_S)
            if frame is None:
                break
            if frame.kind == Kind.HANGUP:
                note = ""
                break
            if frame.kind == Kind.AUDIO:
                samples = decode(frame.payload, Encoding.S16)
                hub.push(call, 0, samples)
    except (ValueError, NoRoomError) as error:
        note = CUT.format("wrong message")
        writer.write(bytes([Kind.ERROR, 0, 1, 1]) if str(error) else b"")
    except (TimeoutError, ConnectionError):
        pass
    if call is not None:
        hub.end(call, note)
        await call.ended.wait()

"""Running the server: its sockets, and its end in order."""

import asyncio
import ipaddress
import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import uvicorn

from ser_batch.addresses import Address, certificate_error, listening_socket
from ser_batch.errors import UsageError
from ser_batch.live.server.app import Secrets, live_app
from ser_batch.live.server.connections import (
    Complaints,
    PromptHttp,
    most_connections,
)
from ser_batch.live.server.hub import Hub
from ser_batch.live.server.protocols import audiosocket
from ser_batch.live.server.webhook import Receiver, Webhook

MOST_BYTES = 1 << 20
"""Of one message."""
LEFT_S = 10.0
"""For the last events to the webhook."""
THIS_MACHINE = ("127.0.0.1", "::1")

log = logging.getLogger("ser.live")


@dataclass(frozen=True, slots=True)
class AudioSocketAddress:
    """Where Asterisk connects to, and from where.

    Raises:
        UsageError: what is allowed is neither an address nor a network.
    """

    host: str
    port: int
    allowed: tuple[str, ...] = THIS_MACHINE
    """Addresses or networks: AudioSocket knows neither TLS nor tokens."""

    def __post_init__(self) -> None:
        for own in self.allowed:
            try:
                _network(own)
            except ValueError as error:
                raise UsageError(
                    f"--allow {own}: not an address or a network", option="--allow"
                ) from error

    def allows(self, peer: str) -> bool:
        """Return whether a peer may connect."""
        address = ipaddress.ip_address(peer)
        return any(address in _network(own) for own in self.allowed)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


async def serve_calls(
    hub: Hub,
    address: Address,
    secrets: Secrets,
    drain_s: float,
    on_start: Callable[[str], None],
    asterisk: AudioSocketAddress | None = None,
    receiver: Receiver | None = None,
    public_hosts: Sequence[str] = (),
) -> None:
    """Serve until SIGTERM or SIGINT; then let calls end, for up to `drain_s`.

    Args:
        hub: the calls.
        address: where HTTP and WebSockets are served.
        secrets: what clients have to know.
        drain_s: after this time, calls that still go on are ended.
        on_start: called with the address.
        asterisk: where AudioSocket is served, if it is.
        receiver: who is sent the events of all calls, if anybody is.
        public_hosts: other names under which a proxy passes requests on.

    Raises:
        UsageError: a port is in use, or a certificate cannot be read.
    """
    listening, most = listening_socket(address), most_connections()
    config = uvicorn.Config(
        live_app(hub, [*address.names, *public_hosts], secrets),
        log_level="error",
        ssl_certfile=address.certificate,
        ssl_keyfile=address.key,
        ws_max_size=MOST_BYTES,
        timeout_graceful_shutdown=5,
        http=PromptHttp,
        limit_concurrency=most,
    )
    try:
        config.load()
    except OSError as error:
        raise certificate_error(address, error) from error
    webhook = None
    if receiver is not None:
        webhook = Webhook(receiver, hub.metrics)
        hub.send_events_to(webhook.tell)
        webhook.start()
    hub.start()
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    audiosocket_server = None
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(Complaints())
    try:
        if asterisk is not None:
            audiosocket_server = _AudioSocketServer(hub, asterisk, most)
            await audiosocket_server.start()
        stop = asyncio.Event()
        # Instead of uvicorn's own, which would cut the calls off.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        on_start(address.url(listening.getsockname()[1]))
        await stop.wait()
    finally:
        await hub.drain(drain_s)
        if webhook is not None:
            await webhook.close(LEFT_S)
        server.should_exit = True
        if audiosocket_server is not None:
            await audiosocket_server.close()
        await serving


class _AudioSocketServer:
    """Follows a call over each connection from Asterisk."""

    def __init__(self, hub: Hub, address: AudioSocketAddress, most: int) -> None:
        self._hub, self._address, self._most = hub, address, most
        self._server: asyncio.Server | None = None
        self._connected: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            UsageError: the port is in use.
        """
        host, port = self._address.host, self._address.port
        try:
            self._server = await asyncio.start_server(self._follow, host, port)
        except OSError as error:
            raise UsageError(
                f"--audiosocket-port {port}: cannot be used ({error.strerror})",
                option="--audiosocket-port",
            ) from error

    async def close(self) -> None:
        """Close all connections; their calls have ended."""
        if self._server is not None:
            self._server.close()
        for writer in self._connected:
            writer.transport.abort()
        await asyncio.gather(*filter(None, self._connected.values()))

    async def _follow(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = writer.get_extra_info("peername")
        self._connected[writer] = asyncio.current_task()
        try:
            has_room = len(self._connected) <= self._most
            if peer and not self._address.allows(peer[0]):
                log.warning("AudioSocket from %s was refused: see --allow", peer[0])
            elif peer and has_room:
                await audiosocket.follow(reader, writer, self._hub)
        finally:
            writer.close()
            del self._connected[writer]

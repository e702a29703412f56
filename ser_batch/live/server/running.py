"""Running the server: its sockets, and its end in order."""

import asyncio
import ipaddress
import signal
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn

from ser_batch.addresses import Address, certificate_error, listening_socket
from ser_batch.errors import UsageError
from ser_batch.live.server.app import Secrets, live_app
from ser_batch.live.server.hub import Hub
from ser_batch.live.server.protocols import audiosocket
from ser_batch.live.server.webhook import Receiver, Webhook

MOST_BYTES = 1 << 20
"""Of one message."""
LEFT_S = 10.0
"""For the last events to the webhook."""


@dataclass(frozen=True, slots=True)
class AudioSocketAddress:
    """Where Asterisk connects to, and from where.

    Raises:
        UsageError: what is allowed is neither an address nor a network.
    """

    host: str
    port: int
    allowed: tuple[str, ...] = ("127.0.0.1",)
    """Addresses or networks: AudioSocket knows neither TLS nor tokens."""

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
    drain_s: float,
    on_start: Callable[[str], None],
    asterisk: AudioSocketAddress | None = None,
    receiver: Receiver | None = None,
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

    Raises:
        UsageError: a port is in use, or a certificate cannot be read.
    """
    listening = listening_socket(address)
    config = uvicorn.Config(
        live_app(hub, address.names, secrets),
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
    webhook = None
    if receiver is not None:
        webhook = Webhook(receiver, hub.metrics)
        hub.tell_finals(webhook.tell)
        webhook.start()
    hub.start()
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    sockets = None
    try:
        if asterisk is not None:
            sockets = await _serve_asterisk(hub, asterisk)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
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
        if sockets is not None:
            sockets.close()
        await serving


async def _serve_asterisk(hub: Hub, asterisk: AudioSocketAddress) -> asyncio.Server:
    async def connected(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = writer.get_extra_info("peername")[0]
        if asterisk.allows(peer):
            await audiosocket.follow(reader, writer, hub)
        writer.close()

    try:
        return await asyncio.start_server(connected, asterisk.host, asterisk.port)
    except OSError as error:
        raise UsageError(
            f"--audiosocket-port {asterisk.port}: cannot be used ({error.strerror})",
            option="--audiosocket-port",
        ) from error

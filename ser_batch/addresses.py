"""Where a server listens: on this machine, or with TLS."""

import socket
from dataclasses import dataclass
from pathlib import Path

from ser_batch.errors import UsageError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANY = "*"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens; any other host than this one needs TLS.

    Raises:
        UsageError: it has none, or only a part of it.
    """

    host: str = "127.0.0.1"
    port: int = 0
    """0: any that is free."""
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False
    """Whether to do without TLS all the same."""

    def __post_init__(self) -> None:
        if bool(self.certificate) != bool(self.key):
            raise UsageError(
                "--tls-certificate and --tls-key go together",
                option="--tls-certificate",
            )
        if not (self.is_here or self.certificate or self.insecure):
            raise UsageError(
                f"--host {self.host}: what is said would travel unencrypted; give "
                "--tls-certificate and --tls-key",
                option="--host",
            )

    @property
    def is_here(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK

    @property
    def names(self) -> list[str]:
        """The names under which it is reached."""
        # Another host may have any number of names; the token and TLS protect it.
        return ["127.0.0.1", "localhost", "[::1]"] if self.is_here else [ANY]

    def url(self, port: int) -> str:
        """Return its address, with the port that it got."""
        scheme = "https" if self.certificate else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{port}"


def listening_socket(address: Address) -> socket.socket:
    """Return a socket that is bound to an address.

    Raises:
        UsageError: it cannot be used.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address.host, address.port))
    except OSError as error:
        listening.close()
        raise UsageError(
            f"--host {address.host} --port {address.port}: cannot be used "
            f"({error.strerror}); with --port 0, any free one is taken",
            option="--port",
        ) from error
    return listening


def certificate_error(address: Address, error: OSError) -> UsageError:
    """Return the error for a certificate that cannot be used."""
    return UsageError(
        f"--tls-certificate {address.certificate}: cannot be used with {address.key}: "
        f"{error}",
        option="--tls-certificate",
    )

"""An object store, and working copies of results in it.

What is not always installed is imported by the fixtures alone: the modules with the
tests skip without it.
"""

from collections.abc import Iterator

import pytest

from ser_batch.storage import checkout, objects
from ser_batch.storage.checkout import Checkout


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Start a store with an empty bucket."""
    from tests.support import stored, stores

    with stores.store() as own:
        stores.client(own).create_bucket(Bucket=stored.BUCKET)
        yield own


@pytest.fixture(autouse=True)
def _environment(monkeypatch, address):
    from tests.support import stores

    for name, value in stores.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setattr(checkout, "PAUSE_S", 0.0)
    objects.object_store.cache_clear()  # it may be of another module's store


@pytest.fixture
def opened(address, request, monkeypatch):
    """Return a function that opens a new working copy, as another process would.

    `via` is the address of a proxy. Each test has a folder of its own.
    """
    from tests.support.stored import place

    monkeypatch.setattr(checkout, "_open", {})

    def fresh(via: str = address):
        own = Checkout(place(request), (("endpoint", via),))
        checkout._open[own.directory] = own
        return own.directory

    return fresh

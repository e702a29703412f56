"""What the server counts, for Prometheus."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

LAG_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.calls = Gauge("ser_calls", "Calls that are going on.", registry=own)
        self.accepted = Counter(
            "ser_calls_accepted", "Calls, by protocol.", ["protocol"], registry=own
        )
        self.refused = Counter(
            "ser_calls_refused",
            "Calls that found no room, or could not be followed.",
            registry=own,
        )
        self.ended = Counter("ser_calls_ended", "By how.", ["how"], registry=own)
        self.audio = Counter(
            "ser_audio_seconds", "Audio that was heard, by channel.", registry=own
        )
        self.dropped = Counter(
            "ser_dropped_seconds",
            "Audio that came faster than it could be heard, and was left out.",
            registry=own,
        )
        self.segments = Counter(
            "ser_segments", "Segments that were scored.", ["kind"], registry=own
        )
        self.lag = Histogram(
            "ser_lag_seconds",
            "From the arrival of audio to the end of the round in which it was heard.",
            buckets=LAG_BUCKETS,
            registry=own,
        )
        self.waiting = Gauge(
            "ser_waiting_seconds", "Audio that waits to be heard.", registry=own
        )
        self.cut_off = Counter(
            "ser_listeners_cut_off",
            "Listeners to events that did not read them.",
            registry=own,
        )

        self.webhook_requests = Counter(
            "ser_webhook_requests", "Requests to the webhook.", ["how"], registry=own
        )
        self.webhook_waiting = Gauge(
            "ser_webhook_waiting", "Events that wait to be sent.", registry=own
        )
        self.webhook_lost = Counter(
            "ser_webhook_lost",
            "Events that the webhook refused, or that were too many to wait for it.",
            registry=own,
        )

    def text(self) -> bytes:
        """Return all of them in the text format of Prometheus."""
        return generate_latest(self.registry)

"""Loading the scorer for a bundle, whatever its kind."""

from ser_batch.emotion.bundles import Bundle, load_bundle
from ser_batch.emotion.network_scorer import NetworkScorer
from ser_batch.emotion.profile import Profile
from ser_batch.emotion.profiled_scorer import ProfiledScorer
from ser_batch.emotion.scorer import Scorer
from ser_batch.errors import UsageError


def load_scorer(
    bundle: str, device: str = "auto", profile: Profile | None = None
) -> Scorer:
    """Load a bundle onto a device.

    Args:
        bundle: the name of a shipped bundle, or the path of any bundle.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        profile: that of the place that the recordings come from; None for the bundle's
            own statistics.

    Raises:
        BundleError: there is no such bundle, or it is damaged.
        UsageError: there is no such device, or the bundle cannot use the profile.
    """
    loaded = load_bundle(bundle)
    if not isinstance(loaded, Bundle):
        return ProfiledScorer(loaded, device, profile)
    if profile is not None:
        message = f"bundle {bundle} does not use profiles: it normalises by speaker"
        raise UsageError(message, option="--profile")
    return NetworkScorer(loaded, device)

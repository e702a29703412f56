"""Loading the scorer for a bundle, whatever its kind."""

from importlib.util import find_spec

from ser_batch.emotion.bundles import Bundle, load_bundle
from ser_batch.emotion.checkpoints.bundle import CheckpointBundle
from ser_batch.emotion.network_scorer import NetworkScorer
from ser_batch.emotion.profile import Profile
from ser_batch.emotion.profiled_bundle import ProfiledBundle
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
        UsageError: there is no such device, the bundle cannot use the profile, or it
            needs a package that is not installed.
    """
    loaded = load_bundle(bundle)
    match loaded:
        case ProfiledBundle():
            return ProfiledScorer(loaded, device, profile)
        case Bundle():
            return NetworkScorer(loaded, device).with_profile(profile)
        case CheckpointBundle():
            require_transformers(f"bundle {bundle}")
            from ser_batch.emotion.checkpoints.scorer import CheckpointScorer

            return CheckpointScorer(loaded, device).with_profile(profile)


def require_transformers(what: str) -> None:
    """Check that transformers is installed.

    Raises:
        UsageError: it is not.
    """
    if find_spec("transformers") is None:
        raise UsageError(f"{what} needs transformers: pip install 'ser-batch[large]'")

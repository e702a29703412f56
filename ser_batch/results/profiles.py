"""The profile with which the rows of a results directory were scored."""

from pathlib import Path

from ser_batch.emotion.profile import Profile, read_profile
from ser_batch.errors import ResultsError, UsageError
from ser_batch.results.manifest import Identity
from ser_batch.storage.checkout import storage_of


def profile_name(profile_id: str) -> str:
    """Return the name of a profile's file within its results directory."""
    return f"profile-{profile_id}.json"


def read_results_profile(directory: Path, identity: Identity) -> Profile | None:
    """Return the profile of a results directory; None if its rows have none.

    Raises:
        ResultsError: it is missing or damaged, or not that of these rows.
    """
    if not identity.profile_id:
        return None
    name = profile_name(identity.profile_id)
    path = directory / name
    try:
        [path] = storage_of(directory).paths([name])
        profile = read_profile(path)
    except (UsageError, OSError) as error:
        raise ResultsError(
            f"{path}: missing or damaged; restore it, or rescore all recordings with "
            "`ser profile refresh`",
            path=path,
        ) from error
    if profile.profile_id != identity.profile_id:
        raise ResultsError(
            f"{path}: not the profile with which these rows were scored; restore it, "
            "or rescore all recordings with `ser profile refresh`",
            path=path,
        )
    return profile

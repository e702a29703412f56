"""The profile that the rows of a results directory were scored with."""

from pathlib import Path

from ser_batch.emotion.profile import Profile, read_profile
from ser_batch.errors import ResultsError, UsageError
from ser_batch.results.manifest import Identity


def profile_name(profile_id: str) -> str:
    """Return the name of a profile's file within its results directory."""
    return f"profile-{profile_id}.json"


def read_results_profile(directory: Path, identity: Identity) -> Profile | None:
    """Return the profile of a results directory; None where rows have none.

    Raises:
        ResultsError: it is missing or damaged, or not the one of these rows.
    """
    if not identity.profile_id:
        return None
    path = directory / profile_name(identity.profile_id)
    try:
        profile = read_profile(path)
    except UsageError as error:
        raise ResultsError(
            f"{path}: is missing or damaged; restore it, or score all again with "
            "`ser profile refresh`",
            path=path,
        ) from error
    if profile.profile_id != identity.profile_id:
        raise ResultsError(
            f"{path}: is not the profile that these rows were scored with; restore it, "
            "or score all again with `ser profile refresh`",
            path=path,
        )
    return profile

"""Replacing all rows of a results directory with those of another, in one step."""

import shutil
from pathlib import Path

from ser_batch.errors import ResultsError
from ser_batch.results.known import Known, known_recordings
from ser_batch.results.manifest import RUN_RECORD, read_manifest
from ser_batch.results.profiles import profile_name, read_results_profile
from ser_batch.results.writing import open_writer


def take_over(directory: Path, fresh: Path) -> None:
    """Replace the rows of `directory` with those of `fresh`, and remove `fresh`.

    Until the manifest is replaced, nothing has changed; from then on, everything has.
    What a crash leaves behind in between is removed by the next run.

    Raises:
        ResultsError: `directory` cannot be written, another run is writing to it, or it
            contains a recording that `fresh` does not; its rows are unchanged.
    """
    new = read_manifest(fresh)
    old = read_manifest(directory)
    with open_writer(directory, old.identity) as writer:
        _check_nothing_is_lost(directory, writer.known, known_recordings(fresh, new))
        try:
            shutil.copyfile(fresh / RUN_RECORD, directory / RUN_RECORD)
            profile = read_results_profile(fresh, new.identity)
            if profile is not None:
                profile.write(directory / profile_name(profile.profile_id))
        except OSError as error:
            raise ResultsError(
                f"{directory}: cannot be written: {error.strerror}. Its rows are "
                "unchanged; free up disk space, and run the same command again",
                path=directory,
            ) from error
        writer.parts.adopt(fresh, new)
        writer.recover()
    shutil.rmtree(fresh, ignore_errors=True)


def _check_nothing_is_lost(
    directory: Path,
    old: Known,
    new: Known,
) -> None:
    # A recording that failed before has only its row in `recordings` to lose.
    lost = [
        recording_id
        for recording_id, own in old.items()
        if recording_id not in new or (new[recording_id].failed and not own.failed)
    ]
    if lost:
        raise ResultsError(
            f"{directory}: {len(lost)} of its {len(old)} recordings could not be "
            "rescored: they are missing, cannot be read, or were added meanwhile. Its "
            "rows are unchanged; restore the recordings and run the same command "
            "again, or analyse the remaining ones into a new directory",
            path=directory,
        )

"""The results directory: rows to Parquet and back, each recording exactly once.

    results/
      manifest.json             which parts are live, and their model and configuration
      recordings/part-N.parquet
      speech/part-N.parquet
      segments/part-N.parquet
      metadata/metadata.parquet call metadata, if any was given
      profile-ID.json           the profile of the place that the recordings come from
      run.json                  the last run: versions, model, configuration, counts

A part is one file in each of the three tables. Parts become live in a single step, when
`manifest.json` is replaced: files are written and synced before it, and removed after
it. A file that the manifest does not name was left by a crash; the next run removes it.
"""

"""Tables of corpora: CSV and TSV, with their header in any case."""

import csv
import io
from collections.abc import Sequence

from ser_batch.errors import CorpusError
from ser_batch.training.corpora.files import CorpusFile


def read_rows(
    table: CorpusFile, delimiter: str | None, columns: Sequence[str]
) -> list[dict[str, str]]:
    """Return the rows of a table, its header in lower case, without spaces around values.

    Raises:
        CorpusError: it cannot be read, or lacks one of the columns.
    """
    try:
        text = table.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{table}: is not encoded in UTF-8 ({error.reason} at byte {error.start}); save it so"
        ) from error
    except OSError as error:
        raise CorpusError(f"{table}: cannot be read: {error}") from error
    header = text.partition("\n")[0]
    delimiter = delimiter or max(",;\t", key=header.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return _plain_rows(rows, table, columns)
    except csv.Error as error:
        raise CorpusError(f"{table}, line {rows.line_num}: {error}") from error


def _plain_rows(
    rows: csv.DictReader, table: CorpusFile, columns: Sequence[str]
) -> list[dict[str, str]]:
    names = [name.strip().lower() for name in rows.fieldnames or ()]
    absent = [column for column in columns if column not in names]
    if absent:
        raise CorpusError(
            f"{table}: column {absent[0]!r} is missing; there are {', '.join(names) or 'none'}"
        )
    rows.fieldnames = names
    return [{name: (row[name] or "").strip() for name in names} for row in rows]

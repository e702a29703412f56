"""CSV and TSV tables of corpora; the case of their headers does not matter."""

import csv
import io
from collections.abc import Sequence

from ser_batch.errors import CorpusError
from ser_batch.training.corpora.files import CorpusFile


def read_rows(
    table: CorpusFile, delimiter: str | None, columns: Sequence[str]
) -> list[dict[str, str]]:
    """Read the rows of a table, with lower-case column names and stripped values.

    Without a `delimiter`, the most frequent of comma, semicolon and tab in the header
    is used.

    Raises:
        CorpusError: the table cannot be read, or lacks one of the columns.
    """
    try:
        text = table.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{table}: not UTF-8 ({error.reason} at byte {error.start}); save the file "
            "as UTF-8"
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
    rows: "csv.DictReader[str]", table: CorpusFile, columns: Sequence[str]
) -> list[dict[str, str]]:
    names = [name.strip().lower() for name in rows.fieldnames or ()]
    absent = [column for column in columns if column not in names]
    if absent:
        raise CorpusError(
            f"{table}: column {absent[0]!r} is missing; found: "
            f"{', '.join(names) or 'none'}"
        )
    rows.fieldnames = names
    return [{name: (row[name] or "").strip() for name in names} for row in rows]

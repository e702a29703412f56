"""The page that says how good a bundle is on a centre's own calls."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from ser_batch.errors import UsageError

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{{ e.model_id }} on your own calls</title>
<style>
  :root { color-scheme: light dark }
  body { max-width: 52rem; margin: 2rem auto; padding: 0 1rem;
    font: 1rem/1.5 system-ui, sans-serif }
  table { border-collapse: collapse; margin: 1rem 0 }
  th, td { padding: .25rem .9rem .25rem 0; text-align: right;
    border-bottom: 1px solid #8884 }
  th:first-child, td:first-child { text-align: left }
  img { max-width: 100%; background: #fff }
  .soft { opacity: .75 }
</style>
<h1>How good is {{ e.model_id }} on your own calls?</h1>
<p class="soft">{{ e.protocol }}</p>
<ul>
{% for sentence in e.in_words %}  <li>{{ sentence }}</li>
{% endfor %}</ul>
<table>
  <tr><th>figure</th><th>value</th><th>95 %</th></tr>
  <tr><td>UAR, {{ f.uar_labels }} labels</td><td>{{ f.uar | share }}</td>
    <td>{{ f.intervals_95.uar | between }}</td></tr>
  <tr><td>accuracy</td><td>{{ f.accuracy | share }}</td>
    <td>{{ f.intervals_95.accuracy | between }}</td></tr>
  {% if e.ceiling %}<tr><td>UAR of one labeller by the labels of another</td>
    <td>{{ e.ceiling.uar | share }}</td><td></td></tr>{% endif %}
  <tr><td>calibration error</td><td>{{ "%.3f" | format(f.ece) }}</td><td></td></tr>
  <tr><td>segments given a label</td><td>{{ f.coverage | share }}</td><td></td></tr>
</table>
<table>
  <tr><th>label</th><th>labelled</th><th>share of speech segments</th>
    <th>found</th><th>95 %</th><th>right</th><th>95 %</th></tr>
{% for label, n in f.by_label.items() if n %}  <tr><td>{{ label }}</td><td>{{ n }}</td>
    <td>{{ f.share[label] | share }}</td>
    <td>{{ f.recall[label] | share }}</td>
    <td>{{ f.intervals_95.recall[label] | between }}</td>
    <td>{{ f.precision.get(label) | share }}</td>
    <td>{{ f.intervals_95.precision[label] | between }}</td></tr>
{% endfor %}</table>
<p class="soft">Found: of the segments that are this label, those that the model calls
  so (recall). Right: of the segments that it calls so, those that are (precision).</p>
<img src="own-calls-labelled.png"
  alt="Confusion of true and predicted labels; accuracy by confidence; accuracy by the
  share of segments that the model is most certain of">
</html>
"""


def write_page(out: Path, evaluation: Mapping[str, Any]) -> None:
    """Write `index.html` into the folder of an evaluation.

    Raises:
        UsageError: it cannot be written.
    """
    environment = jinja2.Environment(autoescape=True)
    environment.filters["share"] = _share
    environment.filters["between"] = _between
    figures = evaluation["test"]["own calls"]["labelled"]
    text = environment.from_string(PAGE).render(e=evaluation, f=figures)
    try:
        (out / "index.html").write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from error


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _between(interval: list[float] | None) -> str:
    if interval is None:
        return "–"
    return f"{100 * interval[0]:.0f} to {100 * interval[1]:.0f}"

"""One file that shows a run: `page(record)` is its HTML.

The file holds its styles, its script and its data, and asks for nothing else: a content security policy refuses every
other script, style, image, frame, form and connection, by their hashes. All words of a run are text: they are escaped
here, and the script sets text only. Data stands in a block that no browser runs.
"""

import base64
import hashlib
import html
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from ..record import Record, replace
from .bundle import ASSETS, script
from .payload import MOST_BYTES, payload
from .source import Source, source

Figures = Sequence[tuple[str, bytes, str]]


def page(
    result: Any,
    *,
    figures: Figures = (),
    verdict: str | None = None,
    summary: Sequence[str] = (),
    most_bytes: int = MOST_BYTES,
) -> str:
    """The page of a record, a run, or a dataset: one HTML file without needs.

    Parameters
    ----------
    figures : sections with a picture: name, the bytes of a PNG, caption.
    verdict : what came of a claim, in words.
    summary : sentences that stand before those that are found in the record.
    most_bytes : of the data; what does not fit is thinned, and the page says so.

    Raises
    ------
    ValueError
        For what is none of these; a damaged record raises `Damaged`.
    """
    shown = source(result)
    data = payload(shown, most_bytes)
    data["summary"] = [*summary, *data["summary"]]
    style, code = (ASSETS / "page.css").read_text(), script()
    policy = f"default-src 'none'; script-src {_hash(code)}; style-src {_hash(style)}; img-src data:; base-uri 'none'"
    parts = {
        "policy": f"{policy}; form-action 'none'",
        "title": html.escape(shown.name),
        "style": style,
        "summary": _paragraphs(data["summary"]),
        "verdict": f'<p class="verdict">{html.escape(verdict)}</p>' if verdict else "",
        "figures": _figures(figures),
        "record": _record(shown),
        "data": json_text(data),
        "script": code,
    }
    text = (ASSETS / "page.html").read_text()
    for name, part in parts.items():
        head, mark, tail = text.partition(f"<!--{name}-->")
        assert mark, name
        text = head + part + tail
    return text


def write(result: Any, path: pathlib.Path, **extras: Any) -> pathlib.Path:
    """Puts the page of a result into a file, whole or not at all; of a record only if its arrays are intact.

    Parameters
    ----------
    extras : as `page`.

    Raises
    ------
    Damaged
        If an array of a record is not what its run left.
    """
    if isinstance(result, Record):
        result.verify()
    replace(path, page(result, **extras).encode())
    return path


def json_text(data: Any) -> str:
    """JSON that may stand in HTML: no tag can begin or end in it."""
    text = json.dumps(_finite(data), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(data: Any) -> Any:
    """Plain data with null for numbers that JSON does not know."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and (data != data or abs(data) == float("inf")) else data


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _paragraphs(sentences: Sequence[str]) -> str:
    return "\n".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)


def _figures(figures: Figures) -> str:
    if not figures:
        return ""
    shown = []
    for name, png, caption in figures:
        image = base64.b64encode(png).decode()
        alt, words = html.escape(name, quote=True), html.escape(caption)
        shown.append(
            f'<figure><img alt="{alt}" src="data:image/png;base64,{image}"><figcaption>{words}</figcaption></figure>'
        )
    return '<section class="panel wide figures"><h2>Figures</h2>\n' + "\n".join(shown) + "\n</section>"


def _record(shown: Source) -> str:
    """Config, provenance and sources."""
    parts = []
    if shown.config:
        parts.append(_details("Config", f"<pre>{html.escape(shown.config)}</pre>", opened=True))
    rows = provenance(shown.manifest)
    if rows:
        cells = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows)
        parts.append(_details("Provenance", f"<table>{cells}</table>", opened=True))
    if shown.bibliography:
        parts.append(_details("Sources", f"<pre>{html.escape(shown.bibliography)}</pre>"))
    caption = str(shown.dataset.attrs.get("caption", ""))
    if not parts and caption:
        parts.append(f"<p>{html.escape(caption)}</p>")
    return "\n".join(parts) or "<p>Nothing is known of how this came about.</p>"


def _details(title: str, inside: str, opened: bool = False) -> str:
    return f"<details{' open' if opened else ''}><summary>{title}</summary>{inside}</details>"


def provenance(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """What a manifest says of where a run comes from, as rows of a table."""
    rows = [(key, str(manifest[key])) for key in ("status", "identity", "seed", "precision") if key in manifest]
    kinds = [str(one.get("kind", one)) for one in manifest.get("summations", [])]
    rows += [("summation", ", ".join(dict.fromkeys(kinds)))] if kinds else []
    segments = manifest.get("segments", [])
    for k, segment in enumerate(segments):
        name = f"segment {k + 1}" if len(segments) > 1 else "made"
        span = f"{segment.get('started', '?')}, {segment.get('seconds', '?')} s"
        rows.append((name, span))
    if segments:
        facts = segments[-1].get("provenance", {})
        rows += [(key, str(facts[key])) for key in ("device", "devices", "machine", "code") if key in facts]
        rows.append(("versions", ", ".join(f"{name} {version}" for name, version in facts.get("versions", {}).items())))
    return rows

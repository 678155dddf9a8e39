"""What a manifest holds, as far as anybody reads it."""

import pathlib
from typing import Any

from . import schema
from .files import Damaged, table, unsealed
from .names import FORMAT, MANIFEST
from .schema import count, number, one_of, or_none, several, text

PROVENANCE = schema.table(
    {
        "versions": schema.table({}, others=text),
        "code": text,
        "host": text,
        "machine": text,
        "device": text,
        "devices": count,
        "environment": schema.table({}, others=text),
    }
)
SEGMENT = schema.table(
    {"started": text, "from_frame": count, "provenance": PROVENANCE},
    {
        "ended": text,
        "to_frame": count,
        "seconds": number,
        "reason": or_none(text),
        "workers": count,
        "session": count,
        "processes": count,
    },
)
COALESCENCE = schema.table({"tolerance": number, "tokens": count, "moving": count, "largest_displacement": number})
MEMBER = schema.table(
    {"status": text, "depth": number},
    {"steps": count, "rejected": count, "attempts": count, "host": text, "segment": count, "coalescence": COALESCENCE}
    | {"swept": schema.table({})},
)
FORM = schema.table(
    {
        "format": count,
        "status": one_of("new", "running", "done", "interrupted", "failed"),
        "identity": text,
        "segments": several(SEGMENT),
    },
    {
        "config": text,
        "name": text,
        "seed": count,
        "precision": text,
        "summations": several(schema.table({"kind": text})),
        "chunk": count,
        "sources": several(text),
        "positions": several(count),
        "members": several(MEMBER),
        "hosts": schema.table({}, others=PROVENANCE),
        "checksums": schema.table({}, others=text),
    },
)


def read_manifest(directory: pathlib.Path) -> dict[str, Any]:
    """The manifest of a run directory.

    Raises
    ------
    Damaged
        If it is not what was written, is of another format, or does not say what a manifest says.
    """
    path = directory / MANIFEST
    found = table(path)
    form = found.get("format")
    if isinstance(form, int) and form != FORMAT:
        raise Damaged(
            f"{path} has format {form}; this version reads {FORMAT}. Run its config again, into another folder, or "
            "read it with the version that wrote it"
        )
    manifest = unsealed(path, found, FORM)
    segments = manifest["segments"]
    if manifest["status"] == "failed" and not (segments and segments[-1].get("reason")):
        raise Damaged(f"{path} is damaged: it says that the run failed, and not why")
    return manifest

"""Measures every row and prints one table; the exit code is 1 if a row fails. Run from the repository root."""

import argparse
import json
import pathlib
import sys

import jax

ROUNDS, QUICK = 9, 3
COLUMNS = {"name": "row", "work": "work", "ours": "ours", "theirs": "theirs", "shown": "ratio", "bound": "must be",
           "verdict": "verdict", "note": ""}  # fmt: skip


def main() -> int:
    options = arguments()
    jax.config.update("jax_enable_x64", True)
    # their flows are made in the precision just chosen
    from . import (
        attention,
        coalescing,
        command,
        fourier,
        lipschitz,
        million,
        page,
        precision,
        processes,
        solving,
        sweeping,
    )

    subjects = (
        attention, fourier, solving, precision, sweeping, coalescing, lipschitz, processes, command, million,
    )  # fmt: skip
    rows = [row for subject in subjects for row in subject.ROWS]
    chosen = [row for row in rows if options.only is None or row.name.startswith(options.only)]
    chosen = [row for row in chosen if not row.name.startswith(tuple(options.skip))]
    if not chosen:
        names = ", ".join(row.name for row in rows)
        print(f"no row is called {options.only!r}; there are {names}", file=sys.stderr)
        return 2
    found = {row["name"]: row for row in json.loads(options.before.read_text())} if options.before else {}
    rounds = QUICK if options.quick else ROUNDS
    for row in chosen:
        print(f"measuring {row.name}", file=sys.stderr)
        found[row.name] = row.result(rounds)
    results = [found[row.name] for row in rows if row.name in found]
    print(table(results))
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    if options.page is not None:
        page.write(results, {row.name for row in chosen}, rounds, options.page)
    return int(any(result["verdict"] == "FAIL" for result in results))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="NAME", help="only the rows whose name begins so")
    parser.add_argument("--skip", metavar="NAME", action="append", default=[], help="not the rows whose name begins so")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} rounds in place of {ROUNDS}")
    parser.add_argument("--before", metavar="FILE", type=pathlib.Path, help="results of rows that are not measured now")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write the results there too")
    parser.add_argument("--page", metavar="DIR", type=pathlib.Path, help="write performance.md and its pictures there")
    return parser.parse_args()


def table(results: list[dict[str, object]]) -> str:
    """The results as text in columns; times are medians, with the least and the largest in parentheses."""
    lines = [list(COLUMNS.values())] + [[str(result[name]) for name in COLUMNS] for result in results]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([shown[0], "-" * max(map(len, shown)), *shown[1:]])


if __name__ == "__main__":
    sys.exit(main())

"""A bar on a terminal, lines elsewhere, and an end that is foretold from what was made after compilation."""

import io

import pytest

from particles.simulation.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(stream, moments, last=10.0):
    """What is shown of a run that reaches some numbers at some moments."""
    now = iter([0.0, *[moment for moment, _ in moments for _ in range(2)]])
    with Progress("trial", 0.0, last, True, stream, lambda: next(now)) as progress:
        for _, reached in moments:
            progress.show(reached, f"depth {reached:g}")
    return stream.getvalue()


def test_compilation_does_not_count():
    """A minute for the first tenth, then a second for each: eight are left after two, and not four minutes."""
    said = shown(Terminal(), [(60.0, 1.0), (61.0, 2.0)])
    assert "depth 2 [01:01<00:08]" in said
    assert "depth 1 [01:00<?]" in said


def test_a_log_gets_a_line_now_and_then():
    said = shown(io.StringIO(), [(float(k), k / 10) for k in range(1, 101)])
    lines = said.splitlines()
    assert "\r" not in said and 4 <= len(lines) <= 5
    assert lines[-1] == "trial: 100%, depth 10 [01:40<00:00]"
    assert all(line.startswith("trial: ") for line in lines)


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_nothing_is_shown_where_nothing_is_wanted(stream):
    with Progress("trial", 0.0, 1.0, False, stream) as progress:
        progress.show(0.5, "half")
    assert stream.getvalue() == ""


def test_a_run_that_goes_on_begins_where_it_is():
    said = shown(io.StringIO(), [(1.0, 5.0), (2.0, 6.0), (40.0, 10.0)])
    assert said.splitlines()[-1].endswith("<00:00]")

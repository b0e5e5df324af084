"""The progress line on a terminal and elsewhere."""

import io

import pytest

from pipeline import progress
from pipeline.progress import Progress, duration


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_plain_lines_when_the_output_is_no_terminal(monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_SECONDS", 0.0)
    stream = io.StringIO()
    with Progress(4, "parse", "image", stream=stream) as line:
        line.advance(1)
        line.advance(3, "1 quarantined")
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("parse: 1/4 images, ")
    assert lines[0].endswith(" left")
    assert lines[-1].startswith("parse: 4/4 images, ")
    assert "took" in lines[-1]
    assert lines[-1].endswith("1 quarantined")
    assert "\r" not in stream.getvalue()


def test_plain_lines_are_rare():
    stream = io.StringIO()
    with Progress(1000, "parse", "image", stream=stream) as line:
        for _ in range(1000):
            line.advance()
    assert len(stream.getvalue().splitlines()) == 1


def test_a_bar_on_a_terminal():
    stream = Terminal()
    with Progress(2, "parse", "image", stream=stream) as line:
        line.advance(2)
    assert "parse" in stream.getvalue()
    assert "2/2" in stream.getvalue()


def test_quiet_writes_nothing():
    stream = Terminal()
    with Progress(2, "parse", "image", quiet=True, stream=stream) as line:
        line.advance(2, "note")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "00:00"), (65, "01:05"), (3600 + 62, "1:01:02")])
def test_times_are_written_as_clocks_do(seconds, text):
    assert duration(seconds) == text

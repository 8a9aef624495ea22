"""Names, numbers and states are written alike everywhere, and nothing in a name can steer the terminal."""

from __future__ import annotations

from dataclasses import astuple

import pytest
from rich.cells import cell_len

from tltui.text import numbers
from tltui.text.glyphs import ASCII, UNICODE, Glyphs, safe


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\tb\nc", "\x9b1m", "\u202eabc", "caf\udce9", "zero\u200bwidth"])
def test_what_could_steer_a_terminal_is_written_out(text: str):
    shown = safe(text)
    assert shown.isprintable()
    assert shown != text
    shown.encode("utf-8")


def test_ordinary_names_stay_as_they_are():
    for name in ("daisy", "Gänseblümchen", "雛菊", "[bold]", "a b"):
        assert safe(name) == name


def test_long_names_keep_both_ends():
    assert safe("backbone.layer4.2.conv3", 11) == "backb…conv3"
    assert safe("short", 11) == "short"
    assert safe("a-very-long-name", 8, "..") == "a-v..ame"


@pytest.mark.parametrize("limit", range(1, 12))
def test_wide_characters_count_for_two_cells(limit: int):
    assert cell_len(safe("雛菊と薔薇の写真", limit)) <= limit


def test_numbers_have_three_digits_at_most():
    counts = (0, 512, 999, 1000, 9408, 216_000, 999_900, 25_557_032)
    assert [numbers.number(n) for n in counts] == ["0", "512", "999", "1.0 k", "9.4 k", "216 k", "1.0 M", "25.6 M"]
    assert [numbers.bytes(n) for n in (12, 402_000_000)] == ["12 B", "402 MB"]


def test_spans_of_time():
    seconds = (0, 41, 725, 10_930, 180_000)
    assert [numbers.duration(n) for n in seconds] == ["0:00", "0:41", "12:05", "3:02:10", "2 d 02:00"]


def test_nothing_and_all_are_said_of_nothing_and_all_only():
    shares = (0, 0.0001, 0.008, 0.64, 0.9996, 1)
    assert [numbers.share(x) for x in shares] == ["0%", "<0.1%", "0.8%", "64%", "99.9%", "100%"]


@pytest.mark.parametrize("one", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_states_are_distinguished_by_glyphs_of_one_width(one: Glyphs):
    trains = (one.trainable, one.frozen, one.mixed, one.pending)
    runs = (one.running, one.paused, one.done, one.stopped, one.failed, one.lost)
    for states in (trains, runs):
        assert len(set(states)) == len(states)
        assert len({cell_len(state) for state in states}) == 1
    for share in (0, 0.31, 0.5, 1, 7):
        assert cell_len("".join(one.bar(share, 20))) == 20


def test_ascii_is_ascii():
    assert "".join(astuple(ASCII)).isascii()

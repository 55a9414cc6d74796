"""How the command line shows a report: on a terminal, through a pipe, and with hostile plug-ins."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ue_bench.cli.showing import choose_view, fit
from ue_bench.errors import ConfigError
from ue_bench.progress import Lines
from ue_bench.text import ascii_json, markdown_text, one_line, visible

STORE = Path(__file__).parents[2] / "results" / "quickstart"
REPORT = [sys.executable, "-c", "from ue_bench.cli import main; main()", "report", f"store={STORE}"]


def on_terminal(columns, **variables):
    """What the command writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", **variables}
    if "NO_COLOR" not in variables:
        environment.pop("NO_COLOR", None)
    with subprocess.Popen(REPORT, stdout=theirs, stderr=subprocess.PIPE, env=environment) as running:
        os.close(theirs)
        written = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not piece:
                break
            written += piece
        os.close(ours)
        assert running.wait() == 0, running.stderr.read()
    return written.decode()


def test_a_terminal_gets_colours_and_lines_that_fit():
    drawn = on_terminal(60)
    assert "\x1b[1m" in drawn and "In words: " in drawn
    bare = re.sub(r"\x1b\[[0-9;]*m", "", drawn)
    assert max(len(line) for line in bare.splitlines()) <= 60
    assert "\x1b" not in on_terminal(60, NO_COLOR="1")


def test_long_lines_break_between_words_and_commands_stay_whole():
    text = "one two three\nfour --option=five"
    assert fit(text, 9) == "one two\nthree\nfour\n--option=five"
    assert fit(text, 9, "  ") == "one two\n  three\nfour\n  --option=five"
    assert fit("one two three", 9, 6 * " ") == "one two\n    three", "an indent of at most half the columns"
    assert fit(text, 20) == text


def test_a_pipe_gets_markdown_and_may_close_early():
    with subprocess.Popen(
        [*REPORT, "--all"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert (
            running.stdout.readline()
            == "### Quickstart: does noise that nobody sees keep a model from learning?\n"
        )
        running.stdout.close()
        assert "Traceback" not in running.stderr.read()


def test_a_reader_that_is_gone_ends_it_without_a_traceback():
    reading, writing = os.pipe()
    os.close(reading)  # as head does when it has its lines
    ended = subprocess.run(REPORT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert ended.stderr == ""


def test_formats_that_do_not_exist_name_the_nearest():
    with pytest.raises(ConfigError, match="unknown format 'markdwn': did you mean 'markdown'"):
        choose_view("markdwn")


def test_what_steers_a_terminal_is_spelt_out(capsys):
    assert visible("a\tb\nc\x1b[2J\x9b\u202e\ud800é日") == "a\tb\nc\\x1b[2J\\x9b\\u202e\\ud800é日"
    assert one_line("a\r\n b\u2028c\x00") == "a b c\\x00"
    assert (
        markdown_text("a|b `c` <d> & $e$ [f](g) _h_ i_j") == r"a\|b \`c\` \<d\> &amp; \$e\$ [f]\(g) \_h\_ i_j"
    )
    assert ascii_json('{"a": "\x9b\u202e日"}') == '{"a": "\\u009b\\u202e日"}'
    Lines().say("title \x1b]0;owned\x07")
    assert capsys.readouterr().err == "title \\x1b]0;owned\\x07\n"


def test_a_plug_ins_docstring_is_shown_not_obeyed(command, tmp_path):
    path = tmp_path / "odd.py"
    path.write_text(
        '"""Odd."""\nfrom dataclasses import dataclass\nfrom ue_bench import Method\n\n\n'
        '@dataclass(frozen=True)\nclass Odd(Method):\n    """Odd\x1b[31m and \u202eback."""\n'
    )
    for words in (("list", "methods"), ("show", "method", "odd")):
        ended = command(*words, "--plugin", str(path))
        assert "\\x1b[31m and \\u202eback" in ended.out and "\x1b" not in ended.out

"""What `--help` says: short lines, and examples that are commands."""

import re
import shlex

import pytest

from hybridvae.__main__ import _parser

COMMANDS = next(action.choices for action in _parser()._actions if action.choices)


def said(parser, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    return parser.format_help()


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_says_what_it_does_and_has_an_example_that_it_takes(name, monkeypatch):
    text = said(COMMANDS[name], monkeypatch)
    assert re.search(r"\n\n[A-Z][^\n]*\.\n\n", text), "a description"
    [example] = re.findall(r"^example:\n  python -m hybridvae (.*)$", text, re.MULTILINE)
    assert _parser().parse_args(shlex.split(example)).command is COMMANDS[name].get_default("command")
    assert not [line for line in text.splitlines() if len(line) > 80]
    assert not [action.dest for action in COMMANDS[name]._actions if not action.help], "an argument without a word"


def test_the_list_of_commands_names_each_and_ends_with_an_example(monkeypatch):
    text = said(_parser(), monkeypatch)
    assert all(re.search(rf"^    {name}\b", text, re.MULTILINE) for name in COMMANDS)
    [example] = re.findall(r"^  python -m hybridvae (.*)$", text, re.MULTILINE)
    assert _parser().parse_args(example.split()).history == "50,181"


def test_a_command_that_there_is_not_ends_with_the_usage(capsys):
    with pytest.raises(SystemExit) as ended:
        _parser().parse_args(["recomend"])
    assert ended.value.code == 2 and "invalid choice: 'recomend'" in capsys.readouterr().err

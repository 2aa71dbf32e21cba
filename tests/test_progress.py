"""How long work says how far it is, in a log: with a clock of the test's own."""

import re

import pytest

from hybridvae import progress as module
from hybridvae.progress import duration, name_stage, progress


@pytest.fixture
def log(monkeypatch, capsys):
    """Let a minute pass after each of some pieces of work, and return what the log said."""
    now = 0.0

    def lines(*minutes):
        waiting = iter(minutes)

        def wait(seconds):
            nonlocal now
            for work in waiting:
                now += seconds
                work()
                return False
            return True

        capsys.readouterr()
        module._say_each_minute(wait)
        return capsys.readouterr().err.splitlines()

    monkeypatch.setattr(module, "_clock", lambda: now)
    monkeypatch.setattr(module, "_stage", "")
    monkeypatch.setattr(module, "_begin_log", lambda: None)
    return lines


def test_a_fit_says_its_epoch_and_its_last_validation_each_minute(log):
    name_stage("validate lightgcn")
    with progress(doing="fit", unit="epochs", total=400) as bar:

        def three_epochs():
            for figures in ({"loss": "0.5"}, {"loss": "0.4", "ndcg@10": "0.178"}, {"loss": "0.3"}):
                bar.update()
                bar.set_postfix(figures, refresh=False)

        said = log(three_epochs, lambda: None)
    assert said == [
        "validate lightgcn, fit: epoch 3 of at most 400, validation NDCG@10 0.178, 1 min 0 s",
        "validate lightgcn, fit: epoch 3 of at most 400, validation NDCG@10 0.178, 2 min 0 s",
    ]


def test_the_log_says_a_fit_without_validation_and_a_count_without_an_end(log):
    with progress(doing="fit", unit="epochs", total=40) as bar:
        bar.set_postfix({"kl": "2.1", "loss": "0.4"})
        assert log(bar.update) == ["fit: epoch 1 of at most 40, loss 0.4, 1 min 0 s"]
    with progress(iter(()), doing="read reviews.jsonl", unit="lines") as bar:
        assert log(lambda: bar.update(1_250_000)) == ["read reviews.jsonl: 1,250,000 lines, 1 min 0 s"]


def test_the_log_says_what_began_last_and_a_stage_that_counts_nothing_is_at_work(log):
    assert log(lambda: None) == [], "a process that is no stage and does nothing long is silent"
    name_stage("train ials")
    with progress(doing="outer", unit="runs", total=2):
        inner = progress(doing="rank", unit="blocks of users", total=3, done=1)
        log(lambda: None)  # so that they do not begin at once
        later = progress(doing="encode", unit="texts", total=9)
        assert log(lambda: None) == ["train ials, encode: 0 of 9 texts, 1 min 0 s"]
        later.close()
        inner.close()
        assert log(lambda: None) == ["train ials, outer: 0 of 2 runs, 3 min 0 s"]
    assert log(lambda: None) == ["train ials: at work for 4 min 0 s"]


def test_work_that_takes_less_than_a_minute_says_nothing(log, capsys):
    assert list(progress(range(3), doing="rank", unit="blocks of users")) == [0, 1, 2]
    assert capsys.readouterr().err == "" and log() == []


def test_the_log_begins_with_the_work(monkeypatch, capsys):
    monkeypatch.setattr(module, "_EVERY", 0.01)
    monkeypatch.setattr(module, "_log", None)
    with progress(doing="fit", unit="epochs", total=2):
        module._log.join(0.1)
    monkeypatch.setattr(module, "_EVERY", 3600)
    said = capsys.readouterr().err.splitlines()
    assert len(said) > 1 and all(re.fullmatch("fit: epoch 0 of at most 2, 0 s", line) for line in said)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59.6, "1 min 0 s"), (70, "1 min 10 s"), (7500, "2 h 5 min")]
)
def test_a_duration_in_words(seconds, words):
    assert duration(seconds) == words

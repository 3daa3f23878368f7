"""Logs are bounded and hold no secret."""

from pathlib import Path

from nanoclaw.clock import SystemClock
from nanoclaw.credentials import redact
from nanoclaw.logs import run_log


def hide(text: str) -> str:
    return redact(text, {"OPENAI_API_KEY": "sk-secret-0123456789"})


def test_only_the_newest_logs_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        with run_log(tmp_path, f"{number}", SystemClock(), hide, keep=3) as log:
            log.write("event", number=number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2.jsonl", "3.jsonl", "4.jsonl"]


def test_a_secret_never_reaches_a_log(tmp_path: Path) -> None:
    with run_log(tmp_path, "x", SystemClock(), hide, keep=3) as log:
        log.write("event", text="the key is sk-secret-0123456789 indeed")
    written = (tmp_path / "x.jsonl").read_text(encoding="utf-8")
    assert "sk-secret" not in written
    assert "indeed" in written


def test_a_log_that_is_full_says_so_once(tmp_path: Path) -> None:
    with run_log(tmp_path, "x", SystemClock(), hide, keep=3) as log:
        for _ in range(30):
            log.write("event", text="x" * 500_000)
    lines = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum("this log is full" in line for line in lines) == 1
    assert "this log is full" in lines[-1]
    assert (tmp_path / "x.jsonl").stat().st_size < 12 << 20

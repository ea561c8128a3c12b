"""Running programs: what they say, how they end, and that nothing hangs or raises."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simrun.envs.machine.processes import ask, describe_exit


def test_an_answer_holds_what_was_said() -> None:
    answer = ask([sys.executable, "-c", "import sys; print('out'); print('first\\nlast', file=sys.stderr)"])
    assert (answer.ok, answer.code, answer.output, answer.last_line) == (True, 0, "out\n", "last")


@pytest.mark.parametrize(
    ("program", "problem", "code"),
    [
        ("raise SystemExit(3)", "exit code 3", 3),
        ("import os; os.kill(os.getpid(), 11)", "ended by SIGSEGV (a crash in native code", -11),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL (by the system when memory ran out", -9),
        ("import time; time.sleep(60)", "gave no answer within 0.5 s", None),
    ],
)
def test_an_end_is_named_with_its_likely_cause(program: str, problem: str, code: int | None) -> None:
    answer = ask([sys.executable, "-c", program], seconds=0.5 if code is None else None)
    assert not answer.ok
    assert problem in answer.problem
    assert answer.code == code


def test_a_program_that_is_not_there_is_an_answer_too(tmp_path: Path) -> None:
    answer = ask([str(tmp_path / "python")])
    assert answer.problem == f"{tmp_path / 'python'} cannot be run: No such file or directory"
    assert answer.code is None
    assert answer.last_line == answer.problem


def test_a_program_gets_no_input_and_its_bytes_may_be_anything() -> None:
    answer = ask([sys.executable, "-c", "import sys; sys.stdout.buffer.write(b'\\xff' + sys.stdin.buffer.read())"])
    assert answer.output == "\ufffd"


PARENT = """
import subprocess
from simrun.envs.machine.processes import dying_with_parent
process = subprocess.Popen(dying_with_parent(["sleep", "100"]))
print(process.pid, flush=True)
process.wait()
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs util-linux's setpriv")
def test_a_foreign_program_ends_with_its_starter_even_while_it_is_stopped() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout as said:
        pid = int(said.readline())
    running = Path(f"/proc/{pid}/cmdline")
    ends = time.monotonic() + 20
    while b"sleep" not in running.read_bytes().split(b"\0")[0]:
        assert time.monotonic() < ends
    os.kill(pid, signal.SIGSTOP)
    parent.kill()
    parent.wait()
    while _alive(pid):
        assert time.monotonic() < ends
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_signals_without_a_known_cause_have_their_names() -> None:
    assert describe_exit(-10) == "ended by SIGUSR1"
    assert describe_exit(-99) == "ended by signal 99"

"""Commands as real processes: what they see, what is kept, and that they end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.tasks.command import CommandSpec

from .fakes import a_run, a_shell, an_executable, an_executor, is_alive, read_pid, wait_until

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="needs Linux: looks into /proc"
)
SHOW = """#!/usr/bin/python3 -IS
import json, os, sys
json.dump({"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(),
           "stdin": sys.stdin.read(), "session": os.getsid(0) == os.getpid(),
           "files": sorted(os.listdir("/proc/self/fd"))}, sys.stdout)
"""
IGNORES_TERM = "trap '' TERM; echo $$ > {path}; while :; do sleep 0.05; done"
DETACHES = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        open(sys.argv[1], "w").write(f"{os.getpid()}\\n")
        time.sleep(60)
    os._exit(0)
time.sleep(60)
"""


@needs_proc
async def test_a_command_sees_its_arguments_and_nothing_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One element stays one element; no variable, input, file or folder is inherited."""
    monkeypatch.setenv("CANARY_TOKEN", "secret")
    script = an_executable(tmp_path / "show", SHOW.replace("/usr/bin/python3", sys.executable))
    spec = CommandSpec(argv=(str(script), "{what}", "end"), params={"what": {"type": "string"}})
    what = 'a\'; touch /tmp/x; $(id) `id` "b" | & > * ~ \\'

    async with an_executor(commands={"show": spec}, max_output_bytes=50_000) as executor:
        outcome = await executor.execute("show", {"what": what}, context=a_run())

    assert outcome.state is RunState.SUCCEEDED, outcome
    seen = json.loads(outcome.output.text)
    assert seen["argv"] == [what, "end"]
    assert sorted(seen["env"]) == [
        "LANG", "MAHAVISHNU_ATTEMPT", "MAHAVISHNU_JOB_ID", "MAHAVISHNU_RUN_ID",
        "MAHAVISHNU_SCHEDULED_FOR", "PATH",
    ]  # fmt: skip
    assert (seen["cwd"], seen["stdin"], seen["session"]) == ("/", "", True)
    assert len(seen["files"]) == 4  # the three, and the folder it was listing


async def test_a_flood_is_drained_and_its_head_and_tail_are_kept() -> None:
    """5 MB are counted to the byte, and never stop the command."""
    script = "echo first; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo last >&2"

    async with an_executor(commands={"flood": a_shell(script)}, max_output_bytes=1000) as executor:
        outcome = await executor.execute("flood", {}, context=a_run())

    output = outcome.output
    assert outcome.state is RunState.SUCCEEDED
    assert (output.bytes, output.truncated) == (5_000_012, True)
    assert output.text.startswith("first\nxxx")
    assert output.text.endswith("xxx\nlast\n")
    assert "[... 4999012 bytes cut ...]" in output.text


async def test_what_fits_the_cap_is_kept_whole_in_the_order_of_writing() -> None:
    """Standard output and error are one stream; bytes that are no text are replaced."""
    script = "echo out; echo err >&2; printf '\\377'; echo end"

    async with an_executor(commands={"say": a_shell(script)}, max_output_bytes=13) as executor:
        outcome = await executor.execute("say", {}, context=a_run())

    assert outcome.output.text == "out\nerr\n\ufffdend\n"
    assert (outcome.output.bytes, outcome.output.truncated) == (13, False)
    assert outcome.value == outcome.output.text


@pytest.mark.parametrize(
    ("script", "kind", "said"),
    [
        ("exit 3", "ExitStatus", "exit status 3"),
        ("kill -9 $$", "Signal", "killed by signal 9"),
    ],
)
async def test_an_unhappy_end_is_a_failure_that_says_how(script: str, kind: str, said: str) -> None:
    """An exit status or a signal is the reason; what it wrote is kept."""
    async with an_executor(commands={"fail": a_shell(f"echo words; {script}")}) as executor:
        outcome = await executor.execute("fail", {}, context=a_run())

    assert outcome.state is RunState.FAILED
    assert outcome.reason == said
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == (kind, said)
    assert outcome.output.text == "words\n"


async def test_a_program_that_is_gone_fails_the_run_and_shows_no_path(tmp_path: Path) -> None:
    """What changed since the start is checked again; the agent is told, without paths."""
    script = an_executable(tmp_path / "gone", "#!/bin/sh\n")

    async with an_executor(commands={"gone": CommandSpec(argv=(str(script),))}) as executor:
        script.unlink()
        outcome = await executor.execute("gone", {}, context=a_run())

    assert outcome.state is RunState.FAILED
    assert "'gone' could not be started" in str(outcome.reason)
    assert str(tmp_path) not in outcome.model_dump_json()


async def test_a_folder_that_is_missing_fails_the_run(tmp_path: Path) -> None:
    """`cwd` may be mounted later, so it is looked at when the command starts."""
    spec = CommandSpec(argv=("/usr/bin/true",), cwd=str(tmp_path / "later"))

    async with an_executor(commands={"there": spec}) as executor:
        outcome = await executor.execute("there", {}, context=a_run())
        (tmp_path / "later").mkdir()
        second = await executor.execute("there", {}, context=a_run())

    assert outcome.state is RunState.FAILED
    assert second.state is RunState.SUCCEEDED


async def test_the_limit_ends_a_command_and_keeps_what_it_wrote() -> None:
    """The output until then is what explains a hang."""
    async with an_executor(commands={"hang": a_shell("echo waiting; sleep 60")}) as executor:
        outcome = await executor.execute("hang", {}, context=a_run(), timeout_seconds=0.2)

    assert outcome.state is RunState.TIMED_OUT
    assert outcome.reason == "timed out after 0.2 s"
    assert outcome.output.text == "waiting\n"


@pytest.mark.slow
async def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    """SIGTERM, two seconds, SIGKILL."""
    script = IGNORES_TERM.format(path=tmp_path / "pid")

    async with an_executor(commands={"stubborn": a_shell(script)}) as executor:
        outcome = await executor.execute("stubborn", {}, context=a_run(), timeout_seconds=0.3)
        pid = read_pid(tmp_path / "pid")

    assert outcome.state is RunState.TIMED_OUT
    assert pid is not None
    assert not is_alive(pid)


@needs_proc
@pytest.mark.slow
async def test_a_descendant_that_left_the_session_is_ended_too(tmp_path: Path) -> None:
    """A double fork into an own session, deaf to SIGTERM, carries the run's mark still."""
    spec = CommandSpec(argv=(sys.executable, "-IS", "-c", DETACHES, str(tmp_path / "pid")))

    async with an_executor(commands={"detach": spec}) as executor:
        going = asyncio.create_task(
            executor.execute("detach", {}, context=a_run(), timeout_seconds=15)
        )
        await wait_until(lambda: read_pid(tmp_path / "pid") is not None, description="it detached")
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        pid = read_pid(tmp_path / "pid")

    assert pid is not None
    assert not is_alive(pid)


@needs_proc
async def test_ending_one_node_leaves_its_neighbours_alone() -> None:
    """Nodes of one run go on beside each other when one of them times out."""
    commands = {"short": a_shell("sleep 60"), "long": a_shell("sleep 0.6; echo done")}

    async with an_executor(commands=commands) as executor:
        short, long = await asyncio.gather(
            executor.execute("short", {}, context=a_run(node="a"), timeout_seconds=0.1),
            executor.execute("long", {}, context=a_run(node="b")),
        )

    assert short.state is RunState.TIMED_OUT
    assert long.output.text == "done\n"


async def test_what_a_command_left_in_its_group_ends_with_it(tmp_path: Path) -> None:
    """A forgotten background process neither holds the run nor survives it."""
    script = f"sleep 60 & echo $! > {tmp_path / 'pid'}; echo done"

    async with an_executor(commands={"forget": a_shell(script)}) as executor:
        outcome = await executor.execute("forget", {}, context=a_run())
        pid = read_pid(tmp_path / "pid")

        assert outcome.output.text == "done\n"
        assert pid is not None
        await wait_until(lambda: not is_alive(pid), description="the background process ended")


async def test_closing_ends_what_runs_as_interrupted(tmp_path: Path) -> None:
    """A server that stops tells its runs so, and takes no new ones."""
    script = f"echo $$ > {tmp_path / 'pid'}; sleep 60"

    async with an_executor(commands={"nap": a_shell(script)}) as executor:
        going = asyncio.create_task(executor.execute("nap", {}, context=a_run()))
        await wait_until(lambda: read_pid(tmp_path / "pid") is not None, description="it runs")
        await executor.aclose(grace_seconds=0.1)
        outcome = await going
        late = await executor.execute("nap", {}, context=a_run())

    pid = read_pid(tmp_path / "pid")
    assert pid is not None
    assert not is_alive(pid)
    assert outcome.state is late.state is RunState.INTERRUPTED
    assert outcome.reason == "the server stopped"


SERVER = """
import asyncio, sys
from tests_fakes import a_run, a_shell, an_executor

async def main():
    commands = {"one": a_shell(sys.argv[1])}
    async with an_executor(commands=commands) as executor:
        await executor.execute("one", {}, context=a_run("run-of-a-dead-server"))

asyncio.run(main())
"""


@needs_proc
@pytest.mark.slow
async def test_no_command_survives_a_killed_server(tmp_path: Path) -> None:
    """SIGKILL leaves a server no time; its commands end all the same, deaf ones too."""
    path = tmp_path / "pid"
    program = SERVER.replace("tests_fakes", f"{__package__}.fakes")
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, IGNORES_TERM.format(path=path),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await wait_until(
            lambda: read_pid(path) is not None, description="it runs", deadline_seconds=20
        )
    finally:
        server.send_signal(signal.SIGKILL)
        await server.wait()

    pid = read_pid(path)
    assert pid is not None
    try:
        await wait_until(lambda: not is_alive(pid), description="the command ended with its server")
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


@needs_proc
async def test_a_watchman_somebody_killed_is_replaced_by_the_next_command() -> None:
    """The promise holds again from the next command on."""
    async with an_executor(commands={"true": CommandSpec(argv=("/usr/bin/true",))}) as executor:
        await executor.execute("true", {}, context=a_run())
        first = executor._processes._guardian._process
        assert first is not None
        first.kill()
        await first.wait()

        outcome = await executor.execute("true", {}, context=a_run())
        second = executor._processes._guardian._process

    assert outcome.state is RunState.SUCCEEDED
    assert second is not None
    assert second.pid != first.pid

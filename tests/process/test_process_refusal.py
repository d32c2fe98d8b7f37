"""A launch that fails says why and what to do, as BootFailed at stage "launch", and leaves nothing."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from trio_folk import _errors
from trio_folk._process import ProcessSpec, open_process
from trio_folk._process.plan import Plan
from trio_folk._process.refusal import refusal


async def refused(spec: ProcessSpec) -> _errors.BootFailed:
    with pytest.raises(_errors.BootFailed) as caught:
        async with open_process(spec):
            raise AssertionError("launched")
    assert caught.value.stage == "launch"
    assert isinstance(caught.value.__cause__, OSError)
    return caught.value


async def test_missing_program_comes_with_a_near_miss_of_its_directory(tmp_path: Path, launcher: str) -> None:
    """A path that does not exist names its neighbour."""
    (tmp_path / "worker.sh").write_text("")
    error = await refused(ProcessSpec(argv=(str(tmp_path / "worker.hs"),)))
    assert "no such program" in str(error)
    assert f"did you mean '{tmp_path}/worker.sh'" in str(error.hint)


async def test_missing_name_comes_with_a_near_miss_of_path(tmp_path: Path, launcher: str) -> None:
    """A name that is nowhere on PATH names the one that is."""
    (tmp_path / "frobnicate").write_text("")
    error = await refused(ProcessSpec(argv=("forbnicate",), env={"PATH": str(tmp_path)}))
    assert "PATH" in str(error)
    assert error.hint == "did you mean 'frobnicate'?"


async def test_missing_name_without_a_near_miss_shows_path(launcher: str) -> None:
    """Where nothing is similar, the PATH that was searched is told."""
    error = await refused(ProcessSpec(argv=("zzqqxx",), env={"PATH": "/nonexistent/bin"}))
    assert "/nonexistent/bin" in str(error.hint)


async def test_file_without_the_x_bit_says_chmod(tmp_path: Path, launcher: str) -> None:
    """EACCES of a file is about its mode."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    error = await refused(ProcessSpec(argv=(str(script),)))
    assert "not executable" in str(error)
    assert f"chmod +x {script}" in str(error.hint)


async def test_directory_as_program_is_called_one(tmp_path: Path, launcher: str) -> None:
    """EACCES of a directory is not about its mode."""
    assert "it is a directory" in str(await refused(ProcessSpec(argv=(str(tmp_path),))))


async def test_missing_interpreter_is_not_called_a_missing_script(tmp_path: Path, launcher: str) -> None:
    """ENOENT of a script that exists is about its first line."""
    script = tmp_path / "script"
    script.write_text("#!/nonexistent/interpreter\n")
    script.chmod(0o755)
    error = await refused(ProcessSpec(argv=(str(script),)))
    assert "interpreter" in str(error)
    assert "#!" in str(error.hint)


async def test_text_without_an_interpreter_says_what_to_write(tmp_path: Path, launcher: str) -> None:
    """ENOEXEC comes with the line that is missing."""
    script = tmp_path / "script"
    script.write_text("echo hello\n")
    script.chmod(0o755)
    assert "#!/bin/sh" in str((await refused(ProcessSpec(argv=(str(script),)))).hint)


async def test_missing_cwd_is_not_called_a_missing_program(tmp_path: Path) -> None:
    """ENOENT of a program that exists is about the directory."""
    (tmp_path / "file").write_text("")
    error = await refused(ProcessSpec(argv=("sh",), cwd=tmp_path / "none"))
    assert re.search("cwd .*none' does not exist", str(error))
    error = await refused(ProcessSpec(argv=("sh",), cwd=tmp_path / "file"))
    assert re.search("cwd .*file' is not a directory", str(error))


async def test_oversized_arguments_say_so(launcher: str) -> None:
    """E2BIG is told in words."""
    error = await refused(ProcessSpec(argv=("sh", "x" * 4_000_000)))
    assert "longer than the system allows" in str(error)


async def test_closed_descriptor_is_named(launcher: str) -> None:
    """A descriptor that is not open in the parent is told by its number."""
    assert "descriptor 987654 is not open" in str(await refused(ProcessSpec(argv=("sh",), fds={3: 987654})))


async def test_number_above_the_limit_is_too_many_descriptors(launcher: str) -> None:
    """A child number that RLIMIT_NOFILE forbids is refused before the launch."""
    assert "ulimit -n" in str((await refused(ProcessSpec(argv=("sh",), fds={2**30: 0}))).hint)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "fs.file-max"),
        (errno.ENOMEM, "fewer workers"),
        (errno.EAGAIN, "ulimit -u"),
        (errno.E2BIG, "replace_env"),
        (errno.ENOTSUP, "glibc"),
        (errno.ELOOP, "ELOOP"),
    ],
)
def test_every_limit_of_the_system_has_a_remedy(number: int, says: str) -> None:
    """The errnos that a launch can meet are told in words; an unknown one by its name."""
    plan = Plan.of(ProcessSpec(argv=("sh",)))
    assert says in str(refusal(plan, OSError(number, os.strerror(number))))


EXHAUST = """
import os, resource, trio
from trio_folk._errors import BootFailed
from trio_folk._process import ProcessSpec, open_process

async def main():
    while os.open("/dev/null", os.O_RDONLY) < 24:
        pass  # so that no number is free below the ones that are lifted
    first = os.dup(0)
    os.close(first)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    refused = 0
    for limit in range(first, first + 20):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            async with open_process(ProcessSpec(argv=("true",))) as process:
                assert process._pidfd is not None, limit
                await process.wait()
            break
        except BootFailed as error:
            assert "ulimit -n" in error.hint, error
            refused += 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        assert os.dup(0) == first
        os.close(first)
    print(refused)

trio.run(main)
"""


def test_too_many_descriptors_strikes_before_the_launch(fresh_python) -> None:
    """At whatever number they run out, nothing runs, nothing leaks; and what runs has its pidfd."""
    assert int(fresh_python(EXHAUST)) > 3

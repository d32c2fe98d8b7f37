"""The shim: what a daemon is before its program: it leaves its starter, says who it is, and waits for leave to begin.

A daemon that stays its starter's child becomes a zombie there, gets its Ctrl-C and dies with its terminal. And
LISTEN_PID can be set by nobody but the process itself. So this runs in between, and then becomes the program.

    shim.py LOG CWD FD DEVICE INODE PROGRAM [WORD ...]

Its standard output is the starter's: "pid N", then either nothing more, for the program runs, or "failed ERRNO". On
descriptor 4 one byte is leave to begin; its end without one means that nobody recorded us, and we end.

Stands alone: it runs without site-packages, and imports nothing of ours.
"""

from __future__ import annotations

import os
import sys

# What signal is made of: that one imports enum, which doubles the time until the daemon begins.
from _signal import SIG_DFL, SIGPIPE, SIGXFSZ, signal  # type: ignore[import-not-found]

GO = 4
"""Where leave to begin is read."""
LISTENER = 3
"""Where a handed-over listener is; the first of systemd's numbers too, sd_listen_fds(3)."""


def main() -> None:
    """Detach, then become the program."""
    log, cwd, fd, device, inode, *argv = sys.argv[1:]
    if os.fork():
        os._exit(0)  # the daemon is init's child now, or the nearest subreaper's
    os.setsid()
    report = os.dup(1)  # close-on-exec: when the program runs the starter reads the end
    os.write(report, b"pid %d\n" % os.getpid())
    if os.read(GO, 1) != b"g":
        os._exit(0)
    try:
        os.close(GO)
        os.umask(0o077)
        os.chdir(cwd)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.close(out)
        if fd != "-":
            os.set_inheritable(LISTENER, True)
            told = f"{LISTENER}:{device}:{inode}:{os.getpid()}"
            os.environ["TRIO_FOLK_LISTENER"] = told
            os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"] = "1", str(os.getpid())
        for ignored in (SIGPIPE, SIGXFSZ):  # by Python, and what is ignored is inherited
            signal(ignored, SIG_DFL)
        os.execvp(argv[0], argv)
    except OSError as error:
        os.write(report, b"failed %d\n" % (error.errno or 0))
    os._exit(127)


if __name__ == "__main__":
    main()

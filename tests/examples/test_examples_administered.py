"""The administered example: looked at and steered from outside while it works, as its README says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
BOUND = 60  # seconds; it takes less than three


def test_it_is_steered_and_says_what_it_did() -> None:
    """Scaled, asked for its plugin's number, and ended by Ctrl-C: it says how many results there were."""
    with tempfile.TemporaryDirectory(prefix="folk-") as folder:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "TRIO_FOLK_DIRECTORY": folder}

        def admin(*words: str) -> str:
            command = [sys.executable, "-m", "trio_folk", "admin", *words]
            return subprocess.run(
                command, env=env, stdout=subprocess.PIPE, text=True, check=True, timeout=BOUND
            ).stdout

        command = [sys.executable, "-m", "examples.administered.main"]
        with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as program:
            try:
                assert program.stdout is not None
                assert program.stdout.readline() == f"administered on {folder}/thumbs.admin\n"
                assert admin("scale", "2") == "2 slots wanted\n"
                results = 0
                while not results:
                    results = json.loads(admin("call", "counter.read"))["results"]
                program.send_signal(signal.SIGINT)
                said, _ = program.communicate(timeout=BOUND)
            finally:
                program.kill()
        assert program.returncode == 0
        assert int(said.split()[0]) >= results
        assert os.listdir(folder) == ["thumbs.admin.lock"]

"""The three example sites: what they answer, and what people will see in a browser, where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from test_http_command import command, get, port_of

ROOT = Path(__file__).parents[2]
BOUND = 100.0  # seconds; a cold browser takes five on a busy machine
SITES = {
    "flask": ("examples.flask_site.flask_site:app", "/primes?below=1000", ">168 primes below 1000"),
    "asgi": ("examples.asgi_site.asgi_site:app", "/", "<h1>ASGI</h1>"),
    "php": ("examples/php_site/worker.php", "/?name=Emma", "<h1>Hello Emma</h1>"),
}


def dom(url: str, profile: Path) -> str:
    """The page after its scripts have run, as the browser has it."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no browser: install the Debian package chromium")
    options = ["--headless", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}", "--dump-dom"]
    options += ["--no-sandbox"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [program, *options, url],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=BOUND,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("name", SITES)
def test_an_example_shows_its_page(name: str, tmp_path: Path) -> None:
    """What the page is about; and in a browser too."""
    if name == "flask":
        pytest.importorskip("flask")
    if (
        name == "php"
        and subprocess.run(
            ["php", "-r", 'exit((int) !extension_loaded("msgpack"));'] if shutil.which("php") else ["false"],
            check=False,
        ).returncode
    ):
        pytest.skip(
            "PHP or its msgpack extension is missing: install the Debian packages php-cli and php-msgpack"
        )
    target, path, shown = SITES[name]
    with command(ROOT, target, "--bind", "127.0.0.1:0", "--workers", "1") as process:
        port = port_of(process)
        status, body = get(port, path)
        assert status == 200
        assert shown in body.decode()
        page = dom(f"http://127.0.0.1:{port}{path}", tmp_path / "profile")
        assert shown in page
        if name == "asgi":
            assert "up since" in page

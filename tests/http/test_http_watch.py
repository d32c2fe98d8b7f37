"""New code while a site is served: by watching its files, and in workers that are forked."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from http_client import ask, serving

from trio_folk.http import application

SITE = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"version 1"]
"""


@pytest.mark.parametrize("fork", [False, True])
async def test_what_is_saved_is_served(fork: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request meanwhile is answered by one of the two versions."""
    pytest.importorskip("watchfiles")
    (tmp_path / "http_watched_site.py").write_text(SITE)
    monkeypatch.syspath_prepend(str(tmp_path))
    runtime = application("http_watched_site:app", fork=fork)
    async with serving(runtime, watch=[str(tmp_path)]) as site:
        assert (await ask(site)).body == b"version 1"
        (tmp_path / "http_watched_site.py").write_text(SITE.replace("version 1", "version two"))
        while True:
            answer = await ask(site)
            assert answer.status == 200
            if answer.body == b"version two":
                break
            await trio.sleep(0.05)

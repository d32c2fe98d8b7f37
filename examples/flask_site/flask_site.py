"""A Flask site with a view that computes for seconds: in a server's own process it would hold up all others."""

from __future__ import annotations

import os

from flask import Flask, request

app = Flask(__name__)

FORM = """<!doctype html><title>Primes</title>
<h1>Primes</h1>
<form action=primes><input name=below value=200000> <button>count</button></form>"""


@app.get("/")
def index() -> str:
    return FORM


@app.get("/primes")
def primes() -> str:
    """Count them the slow way: this is the view that a pool is for."""
    below = min(request.args.get("below", 0, int), 5_000_000)
    count = sum(all(number % each for each in range(2, int(number**0.5) + 1)) for number in range(2, below))
    return f"<!doctype html><title>Primes</title><p id=count>{count} primes below {below}, by process {os.getpid()}"


@app.get("/crash")
def crash() -> str:
    """What a defect in a library written in C does: this request is a 502, all others go on."""
    os.abort()

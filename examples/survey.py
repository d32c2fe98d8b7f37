"""A survey of Python files: ``trio-folk map examples.survey:survey trio_folk/*.py``."""

from __future__ import annotations

import ast
from pathlib import Path


def survey(path: str) -> dict[str, object]:
    """How long a file is, how many functions it has, and which of them is the longest."""
    text = Path(path).read_text()
    functions = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    longest = max(functions, key=length, default=None)
    return {
        "lines": len(text.splitlines()),
        "functions": len(functions),
        "longest": f"{longest.name}, {length(longest)} lines" if longest else None,
    }


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Its lines, its docstring included."""
    return (function.end_lineno or function.lineno) - function.lineno + 1

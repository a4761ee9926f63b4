"""Small rooms: files and functions that have grown too big are missing a noun."""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
LONGEST_FILE, MEDIAN_FILE, SHORTEST_COUNTED = 400, 150, 10
LONGEST_FUNCTION, MOST_PARAMETERS = 60, 5

# At most five, each with the measurement that justifies it: "file.py" or "file.py:function".
EXCEPTIONS: dict[str, str] = {}


def files() -> Iterator[tuple[str, str]]:
    for folder in ("actors", "http", "loadtest", "realtime", "storage"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def functions(text: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def too_big(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    length = (function.end_lineno or function.lineno) - function.lineno + 1
    given = function.args
    parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    count = len([parameter for parameter in parameters if parameter.arg not in ("self", "cls")])
    if length > LONGEST_FUNCTION:
        return f"{length} lines"
    if count > MOST_PARAMETERS:
        return f"{count} parameters"
    return None


def test_files_are_short() -> None:
    lengths = {name: len(text.splitlines()) for name, text in files()}
    grown = [
        f"{name}: {length}" for name, length in lengths.items() if length > LONGEST_FILE and name not in EXCEPTIONS
    ]
    assert not grown, grown
    counted = [length for length in lengths.values() if length >= SHORTEST_COUNTED]
    assert median(counted) < MEDIAN_FILE


def test_functions_are_short_and_take_few_parameters() -> None:
    grown = []
    for name, text in files():
        for function in functions(text):
            reason = too_big(function)
            if reason and f"{name}:{function.name}" not in EXCEPTIONS:
                grown.append(f"{name}:{function.lineno} {function.name} has {reason}")
    assert not grown, "\n".join(grown)


def test_exceptions_are_few_needed_and_explained() -> None:
    assert len(EXCEPTIONS) <= 5
    by_name = dict(files())
    for name, measured in EXCEPTIONS.items():
        file, _, function = name.partition(":")
        assert len(measured.split()) >= 8, f"{name}: say what was measured"
        if function:
            assert any(f.name == function and too_big(f) for f in functions(by_name[file])), f"{name} is no exception"
        else:
            assert len(by_name[file].splitlines()) > LONGEST_FILE, f"{name} is no exception"


def test_the_measure_counts_what_it_says() -> None:
    def first(text: str) -> str | None:
        return too_big(next(functions(text)))

    assert first("def f(self, a, b, c, *, d, e): ...") is None
    assert first("def f(a, b, c, *, d, e, g): ...") == "6 parameters"
    assert first("def f():\n" + "    x = 1\n" * 59) is None
    assert first("def f():\n" + "    x = 1\n" * 60) == "61 lines"

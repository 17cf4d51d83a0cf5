"""The blocking face, generated from the signatures of the async one.

Run `python -m smith_codegen.faces src/smith_sdk [--check]`. Every public class of `aio/` that has
an async method gets a counterpart in `sync/` of the same name (`AsyncSmithBus` becomes `SmithBus`),
with the same methods, parameters and annotations, each one line over the portal. The signature
decides the line:

    async def f(...) -> T                  a call that waits
    async def f() like _prepare()          `_prepare` in the calling thread, then a call that waits
    such an f() -> asyncio.Future[T]       the same, queued; returns a concurrent.futures.Future[T]
    def f(...) -> Coroutine[Any, Any, None]  arguments checked in the caller, queued, not waited for
    async def run() beside stop()          `_run` within `_until_stopped`, in the calling thread
    async def f() beside _f_closed()       `_f_closed` while the bus is not connected, else a call
    a class with `__anext__`               an iterator by batches, with stop() after close()
    async def __aexit__(...)               close() or stop(); what it does itself, without either
    anything else                          the async method, its result wrapped if needed

Other public names (data, functions) are the same objects on both faces. This is a tool of the SDK's
own repository.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from .publish import ForeignFiles, compare, publish
from .render import finish

MODULES: Final = (
    "message",
    "consumer",
    "subscription",
    "dead_letters",
    "quarantine",
    "domains",
    "streams",
    "middleware",
    "worker",
    "service",
    "sharded_worker",
    "execute",
    "answers",
    "admission",
    "pipeline",
    "shards",
    "states",
    "read",
    "trace",
    "health",
    "lag",
    "lag_monitor",
    "backpressure",
    "alerts",
    "outbox",
    "kv",
    "objects",
    "bulk",
    "publishing",
    "core_messages",
    "workers",
    "bus",
)
HEADER: Final = "# generated from smith_sdk/aio by smith_codegen.faces; do not edit\n"
ROOM: Final = "sync"

_RENAMED: Final = {"AsyncSmithBus": "SmithBus"}
_WORDS: Final = (
    ("AsyncSmithBus", "SmithBus"),
    ("async for", "for"),
    ("async with", "with"),
    ("`await ", "`"),
    ("async face", "blocking face"),
)


class _Module:
    """One module of the async face, as read."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.tree = ast.parse(source)
        self.public: list[str] = []
        self.classes: dict[str, ast.ClassDef] = {}
        self.values: list[str] = []
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef):
                self.classes[node.name] = node
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self.values.append(node.name)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if isinstance(target, ast.Name) and target.id == "__all__":
                        self.public = list(ast.literal_eval(node.value)) if node.value else []
                    elif isinstance(target, ast.Name):
                        self.values.append(target.id)
        self.twins = [name for name in self.classes if name in self.public and _waits(self.classes[name])]
        self.shared = [name for name in (*self.classes, *self.values) if name not in self.twins]


_OF_ITERATORS: Final = ("ReadAhead",)
"""Bases of async iterators. `BlockingIterator` takes their place: it calls the async object's."""
Method = ast.FunctionDef | ast.AsyncFunctionDef


def _methods(cls: ast.ClassDef) -> list[Method]:
    return [node for node in cls.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def _waits(cls: ast.ClassDef) -> bool:
    return any(isinstance(method, ast.AsyncFunctionDef) for method in _methods(cls))


def _is_post(method: Method) -> bool:
    return (
        isinstance(method, ast.FunctionDef)
        and method.returns is not None
        and ast.unparse(method.returns) == "Coroutine[Any, Any, None]"
    )


def _is_prepared(method: Method, methods: dict[str, Method]) -> bool:
    """Whether `_prepare` is the part of it that needs no event loop: it has the same parameters."""
    return "_prepare" in methods and ast.dump(method.args) == ast.dump(methods["_prepare"].args)


def _item(methods: dict[str, Method]) -> ast.expr:
    """What an iterator yields."""
    item = methods["__anext__"].returns
    assert item is not None
    return item


def _decorators(method: Method) -> set[str]:
    return {ast.unparse(decorator) for decorator in method.decorator_list}


def _head(annotation: ast.expr | None) -> str:
    """The name that an annotation begins with: `Message` of `Message[M, S]`."""
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    return "" if annotation is None else ast.unparse(annotation)


class _Face:
    """The blocking face to write; `twins` are the async names of all classes that get one."""

    def __init__(self, modules: list[_Module]) -> None:
        self.modules = modules
        self.twins = {name for module in modules for name in module.twins}

    def files(self) -> dict[str, str]:
        found = {f"{ROOM}/{module.name}.py": self.module(module) for module in self.modules}
        found[f"{ROOM}/__init__.py"] = self.names()
        return found

    def names(self) -> str:
        """The package itself: its names, each imported when it is first used."""
        places: dict[str, str] = {}
        lines = ['"""The blocking face. The same names as `smith_sdk.aio`, for code without an event loop of its own."""', ""]
        typed_only = []
        for module in self.modules:  # a name that is there already is re-exported by a former import path
            new = [name for name in map(self.rename, module.public) if name not in places]
            typed_only += [f"    from .{module.name} import {', '.join(new)}"] if new else []
            places |= dict.fromkeys(new, module.name)
        names = sorted(places)
        lines += ["from typing import TYPE_CHECKING", f"__all__ = {names!r}", "", "if TYPE_CHECKING:", *typed_only, "else:"]
        lines += ["    # Hidden from type checkers: a module `__getattr__` would make every misspelt name an Any."]
        lines += ["    from .._lazy_names import lazy_names as _lazy_names"]
        table = {name: f".{places[name]}:{name}" for name in names}
        lines += [f"    __getattr__, __dir__ = _lazy_names(__name__, {table!r})"]
        return "\n".join(lines) + "\n"

    def rename(self, text: str) -> str:
        for old, new in _RENAMED.items():
            text = text.replace(old, new)
        return text

    def module(self, module: _Module) -> str:
        lines = [f'"""The blocking twin of `smith_sdk.aio.{module.name}`."""', "", "from __future__ import annotations", ""]
        typed_only: list[str] = []
        for node in module.tree.body:
            if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module and node.module not in MODULES:
                lines.append(self.rename(ast.unparse(ast.ImportFrom(f"aio.{node.module}", node.names, 2))))
            elif isinstance(node, (ast.Import, ast.ImportFrom)) and getattr(node, "module", "") != "__future__":
                lines.append(self.rename(ast.unparse(node)))
            elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                typed_only.append(self.rename(ast.unparse(node)))
        lines += ["import concurrent.futures", "from typing import Any, cast", f"from ..aio import {module.name} as _async"]
        lines += ["from .._core.blocking.faces import Blocking, BlockingBus, BlockingIterator, unwrap"]
        lines += [f"from ..aio.{module.name} import {name}" for name in module.shared]
        lines += typed_only
        lines += ["", f"__all__ = {sorted(self.rename(name) for name in module.public)!r}", ""]
        for name in module.twins:
            lines += self.twin(module.classes[name])
        return "\n".join(lines) + "\n"

    # ---- one class

    def twin(self, cls: ast.ClassDef) -> list[str]:
        methods = {method.name: method for method in _methods(cls)}
        bases = [ast.unparse(base) for base in cls.bases if _head(base) not in _OF_ITERATORS]
        iterates = "__anext__" in methods
        if iterates:
            bases.insert(0, f"BlockingIterator[{ast.unparse(_item(methods))}]")
        elif "connect" in methods:
            bases.insert(0, "BlockingBus")
        else:
            bases.insert(0, "Blocking")
        lines = ["", f"class {self.rename(cls.name)}({', '.join(bases)}):", *self.doc(cls, 4), "    __slots__ = ()"]
        if iterates and _head(_item(methods)) in self.twins:
            lines += [f"    _item = {_head(_item(methods))}"]
        if "__init__" in methods:
            lines += self.constructor(cls, methods)
        for method in methods.values():
            for form in _methods(cls):
                if form.name == method.name and "overload" in _decorators(form):
                    lines += self.overload(form)
            lines += self.method(method, methods)
        return lines

    def overload(self, form: Method) -> list[str]:
        """One of the forms of a method that returns different things."""
        returns = self.rename(ast.unparse(form.returns)) if form.returns else "None"
        return ["", "    @overload", f"    def {form.name}({self.signature(form)}) -> {returns}: ..."]

    def doc(self, node: ast.ClassDef | Method, indent: int) -> list[str]:
        text = ast.get_docstring(node, clean=False)
        if text is None:
            return []
        for old, new in _WORDS:
            text = text.replace(old, new)
        return [f'{" " * indent}"""{text}"""']

    def constructor(self, cls: ast.ClassDef, methods: dict[str, Method]) -> list[str]:
        """A public constructor if callers may use one; properties for the public attributes it
        sets.
        """
        init = methods["__init__"]
        lines: list[str] = []
        parameters = [*init.args.args[1:], *init.args.kwonlyargs]
        if not any(_head(parameter.annotation) == "Session" for parameter in parameters):
            owner = next((p.arg for p in parameters if _head(p.annotation) in self.twins), None)
            lines += ["", f"    def __init__({self.signature(init)}) -> None:"]
            lines += [f"        aio = _async.{cls.name}({self.passed(init, typed=True)})"]
            lines += [f"        self._adopt({f'{owner}._portal' if owner else 'None'}, aio)"]
            if "_show_as" in methods:
                lines += ["        self._aio._show_as(lambda message: Message._wrap(self._portal, message), Message._detached)"]
            if "_blocking" in methods:
                lines += ["        self._aio._blocking()"]
        annotations = {parameter.arg: parameter.annotation for parameter in parameters}
        for node in ast.walk(init):
            if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Attribute):
                annotation = annotations.get(target.attr)
                if not target.attr.startswith("_") and annotation is not None:
                    what = self.rename(ast.unparse(annotation))
                    lines += ["", "    @property", f"    def {target.attr}(self) -> {what}:"]
                    lines += [f"        found: {what} = self._aio.{target.attr}", "        return found"]
        return lines

    def method(self, method: Method, methods: dict[str, Method]) -> list[str]:
        name = method.name
        if name == "__aenter__":
            lines = ["", "    def __enter__(self) -> Self:"]
            call = "self.connect()" if "connect" in methods else "self._portal.call(self._aio.__aenter__)"
            return [*lines, f"        {call}", "        return self"]
        if name == "__aexit__":
            end = next((f"self.{end}()" for end in ("close", "stop") if end in methods), None)
            call = end or f"self._portal.call(self._aio.__aexit__, {self.passed(method)})"
            return ["", f"    def __exit__({self.signature(method)}) -> None:", f"        {call}"]
        if name.startswith("_"):
            return []
        returns = self.rename(ast.unparse(method.returns)) if method.returns else "None"
        lines = [""]
        if "property" in _decorators(method):
            lines += ["    @property", f"    def {name}({self.signature(method)}) -> {returns}:", *self.doc(method, 8)]
            return lines + self.answer(method, f"self._aio.{name}", returns)
        if "classmethod" in _decorators(method):
            lines += ["    @classmethod", f"    def {name}({self.signature(method)}) -> Self:", *self.doc(method, 8)]
            return [*lines, f"        return cls._made(_async.{self.class_of(methods)}.{name}({self.passed(method)}))"]
        if _is_post(method):
            lines += [f"    def {name}({self.signature(method)}) -> None:", *self.doc(method, 8)]
            return [*lines, f"        self._portal.post(self._aio.{name}({self.passed(method)}))"]
        if returns.startswith("asyncio.Future"):
            returns = returns.replace("asyncio.", "concurrent.futures.")
            lines += [f"    def {name}({self.signature(method)}) -> {returns}:", *self.doc(method, 8)]
            call = f"self._portal.submit(self._aio._prepare, {self.passed(method)})"
            return [*lines, f"        found: {returns} = {call}", "        return found"]
        lines += [f"    def {name}({self.signature(method)}) -> {returns}:", *self.doc(method, 8)]
        passed = self.passed(method)
        if isinstance(method, ast.FunctionDef):
            return lines + self.answer(method, f"self._aio.{name}({passed})", returns)
        with_arguments = f"self._aio.{name}{', ' if passed else ''}{passed}"
        if "connect" in methods and name in ("connect", "close"):
            call = f"self._{name}({passed})"
        elif name == "run" and "stop" in methods:
            call = f"self._portal.run(self._aio._run, self._aio._until_stopped({passed}))"
        elif _is_prepared(method, methods):
            call = f"self._portal.call_prepared(self._aio._prepare, {passed})"
        elif f"_{name}_closed" in methods:
            call = f"self._call_or(self._aio._{name}_closed, {with_arguments})"
        elif name == "stop" and "__anext__" in methods:
            call = "self._portal.end(self._aio.stop)"
        else:
            call = f"self._portal.call({with_arguments})"
        return lines + self.answer(method, call, returns)

    def class_of(self, methods: dict[str, Method]) -> str:
        for module in self.modules:
            for name, cls in module.classes.items():
                if _methods(cls) == list(methods.values()):
                    return name
        raise LookupError("a class method of no class")

    def answer(self, method: Method, call: str, returns: str) -> list[str]:
        """Lines that return what `call` gives, wrapped where that has a twin."""
        annotation = method.returns
        if returns == "None":
            return [f"        {call}"]
        if _head(annotation) in self.twins:
            return [f"        return {returns}._wrap(self._portal, {call})"]
        if isinstance(annotation, ast.Subscript) and _head(annotation) == "Rows" and _head(annotation.slice) in self.twins:
            return [f"        return Rows({ast.unparse(annotation.slice)}._wrap(self._portal, one) for one in {call})"]
        return [f"        found: {returns} = {call}", "        return found"]

    def signature(self, method: Method) -> str:
        return self.rename(ast.unparse(method.args))

    def passed(self, method: Method, *, typed: bool = False) -> str:
        """The parameters as arguments; a blocking object is passed as its async one.

        `typed`: to a function whose types are known, which names the async class where a function
        takes the blocking one.
        """

        def value(parameter: ast.arg) -> str:
            names = {node.id for node in ast.walk(parameter.annotation or parameter) if isinstance(node, ast.Name)}
            if typed and names & self.twins and _head(parameter.annotation) not in self.twins:
                return f'cast("Any", {parameter.arg})'
            if _head(parameter.annotation) in self.twins:
                return f"unwrap({parameter.arg})"
            if _head(parameter.annotation) == "Iterable":
                return f"tuple({parameter.arg})"  # iterated here: the caller's iterator may block
            return parameter.arg

        positional = [value(parameter) for parameter in method.args.args[1:]]
        return ", ".join([*positional, *(f"{parameter.arg}={value(parameter)}" for parameter in method.args.kwonlyargs)])


def render_faces(package: Path) -> dict[str, str]:
    """Every file of `sync/`: path inside `package` -> text."""
    modules = [_Module(name, (package / "aio" / f"{name}.py").read_text(encoding="utf-8")) for name in MODULES]
    return finish(_pruned(_Face(modules).files()), HEADER)


def _pruned(files: dict[str, str]) -> dict[str, str]:
    """Without the imports that the twins do not need, the rest in order."""
    with tempfile.TemporaryDirectory(prefix="smith-faces-") as scratch:
        for name, text in files.items():
            Path(scratch, name).parent.mkdir(exist_ok=True)
            Path(scratch, name).write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--quiet", "--fix"]
        command += ["--select", "F401,I,TC005", "--target-version", "py311", "--line-length", "130"]
        paths = [
            str(Path(scratch, name)) for name in files
        ]  # named one by one: a folder would be searched, and ignored files passed over
        done = subprocess.run([*command, *paths], capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise RuntimeError(f"ruff rejects the generated code:\n{done.stdout}{done.stderr}")
        return {name: Path(scratch, name).read_text(encoding="utf-8") for name in files}


def main(argv: list[str] | None = None) -> int:
    """Run the command. 0: done or up to date; 1: `--check` found drift; 2: foreign files."""
    parser = argparse.ArgumentParser(prog="python -m smith_codegen.faces", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package", type=Path, help="the SDK's package, src/smith_sdk")
    parser.add_argument("--check", action="store_true", help="write nothing; show what differs, and fail if anything does")
    given = parser.parse_args(argv)
    files = render_faces(given.package)
    try:
        drift = compare(files, given.package, (ROOM,)) if given.check else publish(files, given.package, (ROOM,), HEADER)
    except ForeignFiles as error:
        print(error, file=sys.stderr)
        return 2
    print(drift.diff if given.check else "", end="")
    for word, paths in (("changed", drift.changed), ("missing", drift.missing), ("extra", drift.extra)):
        for path in paths:
            print(f"{word}: {given.package / path}")
    if given.check and drift:
        print("sync/ is not up to date with aio/: run python -m smith_codegen.faces src/smith_sdk", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

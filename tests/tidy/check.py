#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""House rules as a test: `check.py layers [ROOT]` and `check.py tidy [ROOT]`.

layers: who may include whom (the floors), and that no source, header or test is left out of the
build. tidy: what a reader can see in one file. Each finding is `path:line: rule: sentence`; the
exit status is 1 when there is one. check_test.py holds, for every rule, a tree that breaks it.
Sources are read as text with comments and literals blanked out, not parsed: a rule here is one
that needs no more than that.
"""

import re
import sys
from pathlib import Path

ENGINE = ["engine/base", "engine/io", "engine/store", "engine/mirror"]
ANYTHING = ["engine", "ebpf", "netdev", "resync", "frontends", "controller", "node"]

# Folder -> folders it may include besides itself. The longest matching folder decides, so the two
# worlds of the seam (uring, sim) are open only to those who name them.
FLOORS = {
    "engine/base": [],
    "engine/io": ["engine/base"],
    "engine/io/uring": ["engine/base", "engine/io"],
    "engine/io/sim": ["engine/base", "engine/io"],
    "engine/store": ["engine/base", "engine/io"],
    "engine/mirror": ["engine/base", "engine/io", "engine/store"],
    "ebpf": ENGINE,
    "netdev": ENGINE,
    "resync": ENGINE,
    "frontends/fuse": ENGINE,
    "frontends/nbd": ENGINE,
    "frontends/capi": [],
    "controller": ENGINE + ["netdev", "resync"],
    "engine/include": [],
    "node": ENGINE + ["netdev", "resync", "controller", "frontends/nbd", "engine/io/uring"],
    "examples": ["engine/include", "frontends/capi"],
    "tools": ANYTHING + ["engine/io/uring", "engine/io/sim"],
    "tests": ANYTHING + ["engine/io/uring", "engine/io/sim", "tools", "examples"],
    "bench": ANYTHING + ["engine/io/uring", "engine/io/sim", "tools"],
}

# Time, chance and the environment come in through constructors; these folders are the outside.
OUTSIDE = ("engine/io/uring/", "controller/", "examples/", "tools/", "tests/", "bench/")
BANNED = {
    r"std::chrono::(?:system|steady|high_resolution)_clock": "take the time from Clock",
    r"std::random_device": "take chance from an injected Prng",
    r"s?rand": "take chance from an injected Prng",
    r"getenv": "take configuration through the constructor",
    r"time": "take the time from Clock",
    r"gettimeofday": "take the time from Clock",
}

CXX = {".cpp", ".hpp", ".c", ".h"}
SCRIPTS = {".py", ".sh", ".cmake"}
LINES_MAX, FUNCTION_LINES_MAX, COLUMNS_MAX = 800, 70, 100
# path -> why it may be longer than LINES_MAX.
LONG_FILES: dict[str, str] = {}

SPDX = "SPDX-License-Identifier: Apache-2.0"
SPDX_BPF = "SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause"


class Source:
    """One text file: its lines, and `code`, the same text with comments and literals blanked."""

    def __init__(self, root: Path, path: Path):
        self.name = path.relative_to(root).as_posix()
        self.suffix = path.suffix
        self.text = path.read_text(encoding="utf-8")
        self.lines = self.text.split("\n")
        self.is_cxx = self.suffix in CXX
        # In the kernel's style: tabs, and bodies without braces on lines of their own.
        self.is_kernel_c = self.name.startswith("ebpf/") and self.suffix in {".c", ".h"}
        self.code = blank(self.text, TOKEN) if self.is_cxx else self.text
        # Without preprocessor lines too: what braces and bodies are looked for in.
        self.plain = blank(self.code, DIRECTIVE) if self.is_cxx else ""

    def line_of(self, offset: int) -> int:
        return self.text.count("\n", 0, offset) + 1


TOKEN = re.compile(
    r"//[^\n]*|/\*.*?\*/"
    r'|R"(?P<delimiter>[^()\\\s]{0,16})\(.*?\)(?P=delimiter)"'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'",
    re.S,
)


DIRECTIVE = re.compile(r"^[ \t]*#(?:\\\n|[^\n])*", re.M)


def blank(text: str, pattern: re.Pattern) -> str:
    """Matches replaced by spaces, except include paths; offsets and line numbers stay."""

    def repl(match: re.Match) -> str:
        start = text.rfind("\n", 0, match.start()) + 1
        if re.match(r"\s*#\s*include\s*$", text[start : match.start()]):
            return match.group()
        return re.sub(r"[^\n]", " ", match.group())

    return pattern.sub(repl, text)


def collect(root: Path) -> list[Source]:
    found = []
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if parts[0] == "build" or any(p.startswith(".") or p == "__pycache__" for p in parts):
            continue
        kind = path.suffix in CXX | SCRIPTS | {".md"} or path.name == "CMakeLists.txt"
        if path.is_file() and (kind or is_script(path)):
            found.append(Source(root, path))
    return found


def is_script(path: Path) -> bool:
    if path.suffix:
        return False
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def row_of(name: str) -> str | None:
    rows = [row for row in FLOORS if name.startswith(row + "/")]
    return max(rows, key=len, default=None)


# ---- layers ---------------------------------------------------------------------------------


def may_include(row: str, target: str) -> bool:
    target_row = row_of(target)
    if target_row is None or target_row == row:
        return target_row == row
    hidden = target_row in ("engine/io/uring", "engine/io/sim")
    if hidden:
        return target_row in FLOORS[row]
    return any(target_row == a or target_row.startswith(a + "/") for a in FLOORS[row])


def check_includes(root: Path, sources: list[Source]):
    for source in sources:
        row = row_of(source.name)
        if not source.is_cxx:
            continue
        if row is None:
            yield source.name, 1, "floor", "stands in no folder of the floors table"
            continue
        for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)', source.code, re.M):
            line, path = source.line_of(match.start(2)), match.group(2)
            if match.group(1) == "<":
                if path.startswith("liburing") and not source.name.startswith("engine/io/uring/"):
                    yield source.name, line, "floor", f"<{path}> belongs to engine/io/uring alone"
            elif not (root / path).is_file():
                yield source.name, line, "include", f'"{path}" is no path from the root'
            elif not may_include(row, path):
                yield source.name, line, "floor", f'{row} may not include "{path}"'


def named_in_build(root: Path, sources: list[Source]) -> set[str]:
    names = set()
    for source in sources:
        if not source.name.endswith(("CMakeLists.txt", ".cmake")):
            continue
        folder = Path(source.name).parent
        text = re.sub(r"#.*", "", source.text)
        for token in re.findall(r"[^\s()\";]+", text):
            token = token.replace("${CMAKE_CURRENT_SOURCE_DIR}/", "")
            if token.startswith("${PROJECT_SOURCE_DIR}/"):
                path = root / token.removeprefix("${PROJECT_SOURCE_DIR}/")
            else:
                path = root / folder / token
            names.add(path)
    return {p.resolve().relative_to(root.resolve()).as_posix() for p in names if inside(root, p)}


def inside(root: Path, path: Path) -> bool:
    return "$" not in path.name and path.resolve().is_relative_to(root.resolve())


def check_in_build(root: Path, sources: list[Source]):
    named = named_in_build(root, sources)
    included = set()
    for source in sources:
        if source.is_cxx:
            included.update(re.findall(r'#[ \t]*include[ \t]*"([^"]+)"', source.code))
    for source in sources:
        name = source.name
        if source.suffix in {".cpp", ".c"} and name not in named:
            yield name, 1, "build", "no CMakeLists.txt names this source"
        elif source.suffix in {".hpp", ".h"} and name not in named | included:
            yield name, 1, "build", "nobody includes this header and no CMakeLists.txt names it"
        elif name.startswith("tests/") and source.suffix in {".py", ".sh", ""}:
            base = Path(name).name
            stem = base.removesuffix(".py")
            others = (s for s in sources if s.name != name and s.suffix != ".md")
            word = re.compile(rf"(?<![\w.-])({re.escape(base)}|{re.escape(stem)})(?![\w-])")
            if name not in named and not any(word.search(s.text) for s in others):
                yield name, 1, "build", "no CMakeLists.txt and no other test names this script"


# ---- tidy -----------------------------------------------------------------------------------


def check_text(source: Source):
    first = source.lines[1 if source.lines[0].startswith("#!") else 0 :][:1]
    licences = [SPDX, SPDX_BPF] if source.name.startswith("ebpf/") else [SPDX]
    if not first or not any(first[0].strip("/#* ") == licence for licence in licences):
        yield 1, "spdx", f"the first line has to be '{SPDX}'"
    if not source.text.endswith("\n") or source.text.endswith("\n\n"):
        yield len(source.lines), "newline", "a file ends with exactly one newline"
    if len(source.lines) - 1 > LINES_MAX and source.name not in LONG_FILES:
        yield len(source.lines), "length", f"more than {LINES_MAX} lines"
    for number, line in enumerate(source.lines, 1):
        if len(line) > COLUMNS_MAX:
            yield number, "columns", f"{len(line)} columns; the limit is {COLUMNS_MAX}"
        if line != line.rstrip():
            yield number, "space", "space at the end of the line"
        if "\t" in line and not source.is_kernel_c:
            yield number, "tab", "a tab"
        if re.search(r"\b(TODO(?!\((perf|someday|port|test)\))|FIXME\b|XXX\b)", line):
            if source.name not in ("tests/tidy/check.py", "tests/tidy/check_test.py"):
                yield number, "todo", "only perf, someday, port and test may wait"


def check_cxx(source: Source):
    if source.suffix in {".hpp", ".h"} and "\n#pragma once\n" not in source.text:
        yield 1, "pragma-once", "a header says '#pragma once'"
    for match in re.finditer(r"#[ \t]*include[ \t]*<(cassert|assert\.h)>", source.code):
        yield source.line_of(match.start()), "assert", "GEMEL_ASSERT is on in every build"
    if not source.name.startswith(OUTSIDE):
        yield from check_banned(source)
    if not source.is_kernel_c:
        yield from check_braces(source)
    if not source.name.startswith("tests/"):
        yield from check_function_lengths(source)


def check_banned(source: Source):
    for pattern, instead in BANNED.items():
        if "::" in pattern:
            hits = re.finditer(pattern, source.code)
        else:
            hits = (m for m in re.finditer(rf"\b{pattern}\s*\(", source.code) if is_call(source, m))
        for match in hits:
            called = match.group().rstrip("( ")
            yield source.line_of(match.start()), "banned", f"{called}: {instead}"


def is_call(source: Source, match: re.Match) -> bool:
    """Whether name( is a call of the C library's function: no member, no declaration."""
    before = source.code[: match.start()].rstrip()
    if before.endswith("::"):
        return not re.search(r"\w\s*::$", before) or bool(re.search(r"\bstd\s*::$", before))
    word = re.search(r"\w+$", before)
    if word:
        return word.group() in {"return", "else", "case", "throw", "co_return"}
    return not before.endswith((".", "->", "~", "&", "*", ">")) or before.endswith(("&&", ">>"))


def check_braces(source: Source):
    """A body without braces may stand behind its condition, not on the next line."""
    code = source.plain
    for match in re.finditer(r"\b(?:if|for|while)\b\s*(?:constexpr\s*)?\(", code):
        depth, end = 1, match.end()
        while depth and end < len(code):
            depth += {"(": 1, ")": -1}.get(code[end], 0)
            end += 1
        body = re.match(r"\s*(?:\[\[\w+\]\]\s*)?", code[end:])
        if "\n" in body.group() and code[end + body.end() : end + body.end() + 1] != "{":
            yield source.line_of(match.start()), "braces", "a body on its own line has braces"
    for match in re.finditer(r"\belse\b[ \t]*\n\s*(?!\{)", code):
        yield source.line_of(match.start()), "braces", "a body on its own line has braces"


# A head that ends in a parameter list is a function, even if it returns `struct x`.
CONTAINER = re.compile(
    r"\b(namespace|class|struct|union|enum|extern)\b(?![^{]*\)\s*(const|noexcept)*$)"
)


def check_function_lengths(source: Source):
    code = source.plain
    stack, head = [], 0
    for match in re.finditer(r"[{};]", code):
        offset = match.start()
        if match.group() == "{":
            text = code[head:offset]
            outer = all(kind == "container" for kind, _ in stack)
            first = re.search(r"\S", text)
            start = source.line_of(head + first.start()) if first else source.line_of(offset)
            if outer and CONTAINER.search(text):
                stack.append(("container", start))
            elif outer and "(" in text:
                stack.append(("function", start))
            else:
                stack.append(("block", start))
        elif match.group() == "}" and stack:
            kind, start = stack.pop()
            lines = source.line_of(offset) - start + 1
            if kind == "function" and lines > FUNCTION_LINES_MAX:
                yield start, "function", f"{lines} lines; the limit is {FUNCTION_LINES_MAX}"
        head = match.end()


def check_links(root: Path, source: Source):
    folder = (root / source.name).parent
    prose = re.sub(r"```.*?```", lambda m: "\n" * m.group().count("\n"), source.text, flags=re.S)
    for match in re.finditer(r"\]\(([^)#\s]+)[^)]*\)", prose):
        target = match.group(1)
        if not re.match(r"[a-z]+:", target) and not (folder / target).exists():
            line = prose.count("\n", 0, match.start()) + 1
            yield line, "link", f"'{target}' does not exist"


def check_tidy(root: Path, sources: list[Source]):
    for source in sources:
        if source.suffix == ".md":
            findings = check_links(root, source)
        elif source.is_cxx:
            findings = [*check_text(source), *check_cxx(source)]
        else:
            findings = check_text(source)
        for line, rule, sentence in findings:
            yield source.name, line, rule, sentence


def check_packages(root: Path):
    """tools/lib/install.sh installs exactly the packages that docs/dependencies.md explains."""
    script, page = root / "tools/lib/install.sh", root / "docs/dependencies.md"
    if not script.is_file():
        return
    listed = re.search(r"^GEMEL_PACKAGES='\n(.*?)^'", script.read_text(), re.M | re.S).group(1)
    installed = {line.split()[1] for line in listed.splitlines()}
    explained = set(re.findall(r"^\| `([^`]+)` \|", page.read_text(), re.M))
    for package in sorted(installed ^ explained):
        name = page if package in installed else script
        yield name.relative_to(root).as_posix(), 1, "packages", f"'{package}' is missing here"


def run(command: str, root: Path) -> list[str]:
    sources = collect(root)
    if command == "layers":
        findings = [*check_includes(root, sources), *check_in_build(root, sources)]
    else:
        findings = [*check_tidy(root, sources), *check_packages(root)]
    return [f"{name}:{line}: {rule}: {sentence}" for name, line, rule, sentence in findings]


def main(arguments: list[str]) -> int:
    if len(arguments) not in (1, 2) or arguments[0] not in ("layers", "tidy"):
        print("usage: check.py layers|tidy [ROOT]", file=sys.stderr)
        return 2
    default = Path(__file__).resolve().parent.parent.parent
    findings = run(arguments[0], Path(arguments[1]) if len(arguments) == 2 else default)
    for finding in findings:
        print(finding)
    print(f"{arguments[0]}: {len(findings)} finding(s)")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that check.py can fail: one clean tree, and one change to it for every rule.

Goal: a rule that no longer finds its breach is seen here, not when the breach has landed.
Method: write the clean tree to a temporary folder, apply the change, demand exactly that finding.
"""

import tempfile
import unittest
from pathlib import Path

import check

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
CMAKE = "# SPDX-License-Identifier: Apache-2.0\n"

CLEAN = {
    "engine/base/CMakeLists.txt": CMAKE + "gemel_library(gemel_base status.cpp)\n",
    "engine/base/status.hpp": SPDX + "#pragma once\nint code();\n",
    "engine/base/status.cpp": SPDX + '#include "engine/base/status.hpp"\nint f() { return 0; }\n',
    "engine/io/CMakeLists.txt": CMAKE + "gemel_library(gemel_io loop.hpp)\n",
    "engine/io/loop.hpp": SPDX + '#pragma once\n#include "engine/base/status.hpp"\n',
    "engine/io/uring/CMakeLists.txt": CMAKE + "gemel_library(gemel_uring uring.cpp uring.hpp)\n",
    "engine/io/uring/uring.hpp": SPDX + '#pragma once\n#include "engine/io/loop.hpp"\n',
    "engine/io/uring/uring.cpp": SPDX + "#include <liburing.h>\nlong now = time(nullptr);\n",
    "engine/store/CMakeLists.txt": CMAKE + "gemel_library(gemel_store store.cpp)\n",
    "engine/store/store.cpp": SPDX + '#include "engine/io/loop.hpp"\n',
    "netdev/CMakeLists.txt": CMAKE + "gemel_library(gemel_netdev wire.cpp wire.hpp)\n",
    "netdev/wire.hpp": SPDX + "#pragma once\n",
    "netdev/wire.cpp": SPDX + '#include "engine/base/status.hpp"\n',
    "tests/unit/base/CMakeLists.txt": CMAKE + "gemel_test(t SOURCES t_test.cpp LABELS fast)\n",
    "tests/unit/base/t_test.cpp": SPDX + '#include "engine/io/uring/uring.hpp"\n',
    "tests/root/CMakeLists.txt": CMAKE + "add_test(NAME x COMMAND mount_test.py)\n",
    "tests/root/mount_test.py": CMAKE + "import helper\n",
    "tests/root/helper.py": CMAKE + "pass\n",
    "tools/dev": "#!/bin/sh\n" + CMAKE,
    "tools/lib/install.sh": CMAKE + "GEMEL_PACKAGES='\nbuild cmake builds\n'\n",
    "docs/dependencies.md": "| `cmake` | builds |\n",
    "README.md": "[the wire](netdev/wire.hpp)\n",
}


def body(text: str) -> str:
    return SPDX + '#include "engine/io/loop.hpp"\n' + text


STORE = "engine/store/store.cpp"

# rule, command, what differs from CLEAN (None: the file is missing), where it is found.
BREACHES = [
    ("floor", "layers", {STORE: SPDX + '#include "netdev/wire.hpp"\n'}, STORE + ":2"),
    ("floor", "layers", {STORE: SPDX + '#include "engine/io/uring/uring.hpp"\n'}, STORE + ":2"),
    ("floor", "layers", {STORE: SPDX + '  #  include  "netdev/wire.hpp"\n'}, STORE + ":2"),
    ("floor", "layers", {"engine/base/status.hpp": SPDX + '#include "engine/io/loop.hpp"\n'},
     "engine/base/status.hpp:2"),
    ("floor", "layers", {"netdev/wire.cpp": SPDX + "#include <liburing.h>\n"}, "netdev/wire.cpp:2"),
    ("floor", "layers", {"netdev/wire.cpp": SPDX + '#include "tests/unit/base/t_test.cpp"\n'},
     "netdev/wire.cpp:2"),
    ("floor", "layers", {"stray/CMakeLists.txt": CMAKE + "x(a.cpp)\n", "stray/a.cpp": SPDX},
     "stray/a.cpp:1"),
    ("include", "layers", {STORE: SPDX + '#include "loop.hpp"\n'}, STORE + ":2"),
    ("build", "layers", {"engine/base/CMakeLists.txt": CMAKE}, "engine/base/status.cpp:1"),
    ("build", "layers", {"engine/base/CMakeLists.txt": CMAKE + "# status.cpp\n"},
     "engine/base/status.cpp:1"),
    ("build", "layers", {"netdev/lost.hpp": SPDX + "#pragma once\n"}, "netdev/lost.hpp:1"),
    ("build", "layers", {"tests/unit/base/CMakeLists.txt": CMAKE}, "tests/unit/base/t_test.cpp:1"),
    ("build", "layers", {"tests/root/CMakeLists.txt": CMAKE}, "tests/root/mount_test.py:1"),
    ("spdx", "tidy", {STORE: "int x;\n"}, STORE + ":1"),
    ("spdx", "tidy", {"tools/dev": "#!/bin/sh\ntrue\n"}, "tools/dev:1"),
    ("spdx", "tidy", {"netdev/CMakeLists.txt": "x()\n"}, "netdev/CMakeLists.txt:1"),
    ("newline", "tidy", {STORE: body("int x;")}, STORE + ":3"),
    ("length", "tidy", {STORE: body("int x;\n" * 799)}, STORE + ":802"),
    ("columns", "tidy", {STORE: body("// " + "x" * 98 + "\n")}, STORE + ":3"),
    ("space", "tidy", {STORE: body("int x; \n")}, STORE + ":3"),
    ("tab", "tidy", {STORE: body("\tint x;\n")}, STORE + ":3"),
    ("todo", "tidy", {STORE: body("// TODO(now) mend\n")}, STORE + ":3"),
    ("todo", "tidy", {STORE: body("// TODO: mend\n")}, STORE + ":3"),
    ("todo", "tidy", {"tools/dev": "#!/bin/sh\n" + CMAKE + "# FIXME\n"}, "tools/dev:3"),
    ("pragma-once", "tidy", {"netdev/wire.hpp": SPDX}, "netdev/wire.hpp:1"),
    ("assert", "tidy", {STORE: body("#include <cassert>\n")}, STORE + ":3"),
    ("banned", "tidy", {STORE: body("auto t = std::chrono::steady_clock::now();\n")}, STORE + ":3"),
    ("banned", "tidy", {STORE: body("long t() { return time(nullptr); }\n")}, STORE + ":3"),
    ("banned", "tidy", {STORE: body("long t = ::time(nullptr);\n")}, STORE + ":3"),
    ("banned", "tidy", {STORE: body("int r = std::rand();\n")}, STORE + ":3"),
    ("banned", "tidy", {STORE: body('auto e = getenv("HOME");\n')}, STORE + ":3"),
    ("banned", "tidy", {STORE: body("std::random_device chance;\n")}, STORE + ":3"),
    ("braces", "tidy", {STORE: body("void f() {\n    if (x)\n        g();\n}\n")}, STORE + ":4"),
    ("braces", "tidy", {STORE: body("void f() {\n    if (x) {\n    } else\n        g();\n}\n")},
     STORE + ":5"),
    ("function", "tidy", {STORE: body("namespace a {\nint f() {\n" + "    g();\n" * 69 + "}\n}\n")},
     STORE + ":4"),
    ("packages", "tidy", {"docs/dependencies.md": "| cmake |\n"}, "docs/dependencies.md:1"),
    ("packages", "tidy", {"docs/dependencies.md": "| `cmake` |\n| `gone` |\n"},
     "tools/lib/install.sh:1"),
    ("link", "tidy", {"README.md": "\n[gone](docs/gone.md)\n"}, "README.md:2"),
]

# What looks like a breach and is none.
INNOCENT = [
    body("// time(nullptr), std::chrono::steady_clock\nconst char* x = \"getenv(\";\n"),
    body("struct T { Instant time() const; };\nauto y = x.time() + x->time() + T::time();\n"),
    body("int f() {\n    if (x) return 1;\n    do {\n    } while (x);\n    return 0;\n}\n"),
    body("#define M(x) \\\n    if (x)   \\\n        f()\n"),
    body("#define M(x) \\\n    if (x) [[unlikely]] \\\n        f(); \\\n    else \\\n    g()\n"),
    body("// TODO(perf) batch\nint f() {\n" + "    g();\n" * 68 + "}\n"),
    body("struct S {\n" + "    int x();\n" * 90 + "};\n"),
    body("const char* raw = R\"(if (x)\n    time(0))\";\nint big = 1'000'000;\n"),
]


def findings(command: str, changes: dict) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in {**CLEAN, **changes}.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return check.run(command, Path(folder))


class CheckTest(unittest.TestCase):
    def test_clean_tree_has_no_finding(self):
        self.assertEqual(findings("layers", {}), [])
        self.assertEqual(findings("tidy", {}), [])

    def test_each_breach_is_found_where_it_is(self):
        for rule, command, changes, place in BREACHES:
            with self.subTest(rule=rule, place=place, changes=changes):
                # Other lines may fall to the same breach; the one named must be among them.
                found = findings(command, changes)
                self.assertTrue(any(f.startswith(f"{place}: {rule}: ") for f in found), found)
                self.assertEqual({f.split(": ")[1] for f in found}, {rule})

    def test_what_only_looks_like_a_breach_is_let_pass(self):
        for text in INNOCENT:
            with self.subTest(text=text):
                self.assertEqual(findings("tidy", {STORE: text}), [])

    def test_build_folder_is_not_read(self):
        self.assertEqual(findings("tidy", {"build/dev/generated.cpp": "int x;"}), [])


if __name__ == "__main__":
    unittest.main()

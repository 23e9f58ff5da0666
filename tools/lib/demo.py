#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The main job of gemel, shown on this machine: two nodes, a real tree and a database being written
to, a crash of the serving node, the return of the failed one, and the proof that both copies are
equal. tools/demo installs and builds, then runs it."""

import pathlib
import sqlite3
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from lab import DATA_PATH, VIRTUAL_IP, Lab  # noqa: E402
from tree_compare import compare  # noqa: E402

PYTHON = "/usr/bin/python3"
PORT = 5000


def say(text):
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def tell(text):
    print(f"   {text}", flush=True)


def human(size):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.1f} {unit}" if unit != "B" else f"{size} B"
        size /= 1024
    return ""


def acknowledged(log):
    """(number, time) of every entry that the client was told is safe."""
    with open(log, encoding="ascii") as lines:
        return [(int(n), float(t)) for n, t in (line.split() for line in lines if line[-1] == "\n")]


def wait_for_entries(log, more):
    """Until the client has that many more entries."""
    target = len(acknowledged(log)) + more
    end = time.monotonic() + 60
    while len(acknowledged(log)) < target:
        if time.monotonic() > end:
            raise AssertionError("the application does not answer")
        time.sleep(0.02)


def longest_gap(log):
    times = [t for _, t in acknowledged(log)]
    return max(b - a for a, b in zip(times, times[1:]))


def bytes_between(lab, node):
    """Sent and received by this node on the data network."""
    text = lab[node].inside("cat", "/proc/net/dev").stdout
    fields = next(line for line in text.splitlines() if "net0:" in line).split(":")[1].split()
    return int(fields[0]) + int(fields[8])


def show_status(lab, node):
    for line in lab.gemel(node, "status").stdout.rstrip().splitlines():
        tell(line)


def demo(binaries):
    application = f"{PYTHON} {HERE}/ledger.py {DATA_PATH}/ledger.db {VIRTUAL_IP} {PORT}"
    mirror = (f'virtual-ip = ["{VIRTUAL_IP}/24"]\n'
              f'start = "{application} & sleep 0.1"')
    say("1. Two nodes, alpha and beta, and a witness, each in namespaces of its own")
    with Lab(binaries, mirror=mirror) as lab, lab.explained():
        tree = lab["alpha"].bare / "include"
        subprocess.run(["cp", "-a", "/usr/include", str(tree)], check=True)
        files = sum(1 for path in tree.rglob("*") if path.is_file())
        size = sum(p.lstat().st_size for p in tree.rglob("*"))
        tell(f"alpha's {DATA_PATH} holds a copy of /usr/include: {files} files, {human(size)};"
             " beta's is empty")
        start = time.monotonic()
        lab.start()
        serving, other = lab.wait_pair()
        tell(f"both started; the first synchronisation took {time.monotonic() - start:.1f} s")
        show_status(lab, serving)

        say("2. A client adds entries to a database through the virtual address")
        log = lab.root / "client.log"
        log.touch()
        client = lab["client"].spawn(PYTHON, f"{HERE}/ledger_client.py", VIRTUAL_IP, str(PORT),
                                     str(log))
        try:
            wait_for_entries(log, 300)
            tell(f"{len(acknowledged(log))} entries acknowledged, each synced on both nodes before")

            say(f"3. {serving} dies: kill -9 of gemeld and every cable pulled")
            lab.isolate(serving)
            lab[serving].kill_daemon()
            lab.wait_state(other, "alone")
            wait_for_entries(log, 300)
            tell(f"the client wrote again, at {other}, {longest_gap(log):.2f} s after its last "
                 "answer before the crash")
            show_status(lab, other)

            say(f"4. While {serving} is away, 20 of the {files} files change")
            changed = 0
            for path in sorted(tree.rglob("*.h"))[:20]:
                name = f"{DATA_PATH}/include/{path.relative_to(tree)}"
                lab[other].inside("sh", "-c", f'echo "/* changed */" >>"{name}"')
                changed += path.stat().st_size
            tell(f"together {human(changed)}, and the database goes on changing")

            say(f"5. {serving} comes back and receives what changed; the client goes on writing")
            before = bytes_between(lab, serving)
            start = time.monotonic()
            # The crash left its application behind; a real machine would have lost it too.
            lab.rejoin(serving)
            lab.start(serving)
            lab.wait_pair()
            sent = bytes_between(lab, serving) - before
            tell(f"in sync again after {time.monotonic() - start:.1f} s; {human(sent)} crossed the "
                 f"network (everything would have been {human(size)})")
            wait_for_entries(log, 100)

            say(f"6. Back to {serving}, on request")
            lab.gemel(serving, "swap", "data")
            lab.wait_pair()
            wait_for_entries(log, 100)
            show_status(lab, serving)
        finally:
            client.kill()
            client.wait()

        say("7. The proof")
        lab.gemel(serving, "stop", "data")
        lab.gemel(other, "stop", "data")
        differences = compare(lab["alpha"].bare, lab["beta"].bare)
        for difference in differences[:20]:
            tell(difference)
        numbers = {number for number, _ in acknowledged(log)}
        database = sqlite3.connect(lab["beta"].bare / "ledger.db")
        kept = {number for (number,) in database.execute("SELECT number FROM entries")}
        intact = database.execute("PRAGMA integrity_check").fetchone()[0]
        database.close()
        tell(f"names, content, holes, links, owners, modes, times and attributes of both copies: "
             f"{len(differences)} differences")
        tell(f"entries acknowledged to the client: {len(numbers)}; missing in beta's database: "
             f"{len(numbers - kept)}; SQLite's own check: {intact}")
        if differences or numbers - kept or intact != "ok":
            return 1
        tell("nothing was lost, and both copies are equal")
    return 0


if __name__ == "__main__":
    sys.exit(demo(sys.argv[1]))

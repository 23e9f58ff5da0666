#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL cluster in a mirrored directory: transfers between accounts with a history of them,
a transaction each. The server runs in name spaces of its own for processes and shared memory, as on
a machine of its own, and is never ended but by force.

usage: postgres.py create DIRECTORY                    once: a cluster with the tables
       postgres.py work DIRECTORY ACK_LOG NODE MODE    until killed
       postgres.py check DIRECTORY ACK_LOG             starts the server, which recovers; exit 1 and
                                                       a sentence when a transaction is missing, or
                                                       amcheck finds damage, 2 when it can't start

MODE `write`: transfers; `names`: between them tables are truncated, logs are switched and
checkpoints made. GEMEL_POSTGRES: the root under which PostgreSQL's packages are."""

import glob
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from libpq import Connection, Refused  # noqa: E402
from sessions import PACE_S, Log, read_log, repeat  # noqa: E402

ROOT = os.environ.get("GEMEL_POSTGRES", "/")
BINARIES = os.path.join(ROOT, "usr/lib/postgresql/15/bin")
LIBRARY = next(iter(glob.glob(os.path.join(ROOT, "usr/lib/*/libpq.so.5"))), "libpq.so.5")
ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C",
               "LD_LIBRARY_PATH": os.path.dirname(LIBRARY)}
NOBODY = 65534         # PostgreSQL refuses to be root
CLUSTER = "cluster"
ACCOUNTS = 50
OPENING = 1000
START_S = 50
DATABASE = "template1"  # the only one: what is not there need not be checked
PARAMETERS = f"host=127.0.0.1 port=5432 user=nobody dbname={DATABASE} connect_timeout=5"
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
dynamic_shared_memory_type = sysv   # gone with the server's name space
shared_buffers = 16MB
max_connections = 10
checkpoint_timeout = 30s
max_wal_size = 8MB
min_wal_size = 2MB
recovery_init_sync_method = syncfs  # a round begins with all synced; else each file is, at a start
log_min_messages = warning
"""
TABLES = f"""
DROP DATABASE postgres;
UPDATE pg_database SET datistemplate = false WHERE datname = 'template0';
DROP DATABASE template0;
CREATE EXTENSION amcheck;
CREATE TABLE accounts(id int PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE history(id bigint PRIMARY KEY, payer int, paid int, amount int, filler text);
CREATE INDEX by_payer ON history(payer, id);
CREATE TABLE scratch(id int, filler text);
INSERT INTO accounts SELECT i, {OPENING} FROM generate_series(0, {ACCOUNTS - 1}) i;
"""
NEW_FILES = ("TRUNCATE scratch; INSERT INTO scratch SELECT i, repeat('x', 100) "
             "FROM generate_series(1, 100) i;")
DIFFERING = f"""
SELECT count(*) FROM accounts a
  LEFT JOIN (SELECT payer AS id, sum(amount) AS s FROM history GROUP BY 1) o ON o.id = a.id
  LEFT JOIN (SELECT paid AS id, sum(amount) AS s FROM history GROUP BY 1) i ON i.id = a.id
 WHERE a.balance <> {OPENING} - coalesce(o.s, 0) + coalesce(i.s, 0)"""


def run_as_nobody(*command, **options):
    return subprocess.run(command, check=True, env=ENVIRONMENT, user=NOBODY, group=NOBODY,
                          extra_groups=[], stdout=subprocess.DEVNULL, **options)


def create(directory):
    with tempfile.TemporaryDirectory() as place:
        os.chown(place, NOBODY, NOBODY)
        cluster = os.path.join(place, CLUSTER)
        run_as_nobody(f"{BINARIES}/initdb", "-D", cluster, "--username=nobody", "--auth=trust",
                      "--locale=C", "--encoding=UTF8", "--data-checksums", "--wal-segsize=1",
                      "--no-sync", cwd="/")
        with open(os.path.join(cluster, "postgresql.conf"), "a", encoding="ascii") as settings:
            settings.write(SETTINGS)
        run_as_nobody(f"{BINARIES}/postgres", "--single", "-D", cluster, "-F", "-j", DATABASE,
                      input=TABLES.replace(";\n", ";\n\n").encode(), cwd="/")
        os.makedirs(directory, exist_ok=True)
        shutil.rmtree(os.path.join(directory, CLUSTER), ignore_errors=True)
        subprocess.run(["cp", "-a", cluster, directory], check=True)
    subprocess.run(["sync", "-f", directory], check=True)


def on_a_machine_of_its_own(*arguments):
    """This process becomes unshare(1), all of whose children end with it."""
    os.execvp("unshare", ["unshare", "--ipc", "--pid", "--fork", "--kill-child", sys.executable,
                          "-B", __file__, *arguments])


def start():
    """A connection to a server that has recovered. Raises Refused."""
    server = subprocess.Popen([f"{BINARIES}/postgres", "-D", os.path.join(os.getcwd(), CLUSTER)],
                              env=ENVIRONMENT, user=NOBODY, group=NOBODY, extra_groups=[],
                              stdin=subprocess.DEVNULL, stdout=sys.stderr)
    end = time.monotonic() + START_S
    while True:
        try:
            return Connection(LIBRARY, PARAMETERS)
        except Refused as refusal:
            if server.poll() is not None or time.monotonic() > end:
                raise Refused(f"the server does not start: {refusal}") from refusal
        time.sleep(0.02)


def session(log_path, node, mode):
    try:
        connection = start()
        log = Log(log_path, node)
        number = int(connection.execute("SELECT coalesce(max(id), 0) FROM history")[0][0])
        while True:
            number += 1
            payer, paid, amount = number % ACCOUNTS, number * 7 % ACCOUNTS, number % 90 + 1
            if paid == payer:
                paid = (payer + 1) % ACCOUNTS
            begun = time.monotonic_ns()
            connection.execute(
                f"BEGIN; UPDATE accounts SET balance = balance - {amount} WHERE id = {payer};"
                f"UPDATE accounts SET balance = balance + {amount} WHERE id = {paid};"
                f"INSERT INTO history VALUES({number}, {payer}, {paid}, {amount},"
                f" repeat('{number} ', 10));"
                + (NEW_FILES if mode == "names" and number % 4 == 0 else "") + "COMMIT")
            log.acknowledge("transaction", number, begun)
            if mode == "names" and number % 16 == 0:
                connection.execute("SELECT pg_switch_wal()")
            if mode == "names" and number % 64 == 0:
                connection.execute("CHECKPOINT")
            time.sleep(PACE_S)
    except (Refused, OSError) as error:
        print(f"{time.monotonic():.3f} {node}: the session has ended: {error}", flush=True)


def find_problem(connection, log_path):
    acknowledged = {entry.number for entry in read_log(log_path)}
    there = {int(row[0]) for row in connection.execute("SELECT id FROM history")}
    missing = sorted(acknowledged - there)
    if missing:
        return (f"{len(missing)} transactions are missing, the first {missing[0]}; the last that "
                f"is there is {max(there, default=0)}")
    if there and max(there) != len(there):
        return f"{len(there)} transactions, and the last is {max(there)}"
    ((differing,),) = connection.execute(DIFFERING)
    if differing != "0":
        return f"{differing} balances are not what the history says"
    amcheck = subprocess.run([f"{BINARIES}/pg_amcheck", "--host=127.0.0.1", "--username=nobody",
                              "--heapallindexed", DATABASE], env=ENVIRONMENT, text=True,
                             capture_output=True)
    if amcheck.returncode != 0:
        return f"amcheck finds damage: {amcheck.stdout}{amcheck.stderr}"
    print(f"checked: {len(acknowledged)} transactions of {len(there)}")
    return None


def verify(log_path):
    try:
        problem = find_problem(start(), log_path)
    except (Refused, OSError) as error:
        print(error, flush=True)
        return 2
    if problem:
        print(problem, flush=True)
    return 1 if problem else 0


def check(directory, log_path):
    try:
        os.chdir(directory)
    except OSError as error:
        print(error)
        return 2
    on_a_machine_of_its_own("verify", log_path)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "create":
        sys.exit(create(sys.argv[2]))
    if len(sys.argv) == 6 and sys.argv[1] == "work":
        repeat(sys.argv[2], lambda: on_a_machine_of_its_own("session", *sys.argv[3:]))
    if len(sys.argv) == 5 and sys.argv[1] == "session":
        sys.exit(session(*sys.argv[2:]))
    if len(sys.argv) == 4 and sys.argv[1] == "check":
        sys.exit(check(*sys.argv[2:]))
    if len(sys.argv) == 3 and sys.argv[1] == "verify":
        sys.exit(verify(sys.argv[2]))
    sys.exit(__doc__)

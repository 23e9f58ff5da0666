#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A bank in a mirrored directory: transfers between accounts, each durable before it is
acknowledged. The transfer of each number is always the same, and numbers have no gap, so the number
of the last one says what every balance has to be.

usage: bank.py work DIRECTORY ACK_LOG NODE MODE   until killed
       bank.py check DIRECTORY ACK_LOG            exit 1 and a sentence when something is missing

MODE `write`: an intent is written and synced before two accounts are written over in place, and
carried out again by whoever finds it. `names`: all accounts are written to a new file, which is
synced and renamed."""

import hashlib
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from sessions import PACE_S, Log, judge, read_log, repeat  # noqa: E402

ACCOUNTS = 32
OPENING = 1000        # what each has at first
RECORD = 512          # bytes: text, padding, digest
FILE = "accounts"
INTENT = "intent"


class Damaged(AssertionError):
    """What is read is none of the states that a crash may leave."""


def seal(*fields):
    text = " ".join(map(str, fields)).encode().ljust(RECORD - 65)
    return text + hashlib.sha256(text).hexdigest().encode() + b"\n"


def unseal(data):
    """The numbers of an intact record, or None of one that was being written."""
    text = data[:RECORD - 65]
    if len(data) != RECORD or data != text + hashlib.sha256(text).hexdigest().encode() + b"\n":
        return None
    return [int(field) for field in text.split()]


def transfer(number):
    """(account that pays, account that is paid, amount)"""
    digest = hashlib.sha256(b"%d" % number).digest()
    payer = digest[0] % ACCOUNTS
    return payer, (payer + 1 + digest[1] % (ACCOUNTS - 1)) % ACCOUNTS, 1 + digest[2] % 50


def synced(path, data, offset=0, flags=0):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | flags)
    os.pwrite(fd, data, offset)
    os.fsync(fd)
    os.close(fd)


def sync_directory():
    fd = os.open(".", os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


class Bank:
    """In the working directory."""

    def __init__(self):
        if not os.path.exists(FILE):
            self.accounts = [[0, OPENING] for _ in range(ACCOUNTS)]   # [last transfer, balance]
            self.replace_file()
        self.load()

    def load(self):
        with open(FILE, "rb") as file:
            data = file.read()
        self.accounts = [unseal(data[i * RECORD:(i + 1) * RECORD]) for i in range(ACCOUNTS)]
        self.carry_out_intent()
        for index, account in enumerate(self.accounts):
            if account is None:
                raise Damaged(f"account {index} is damaged, and no intent has it")
        self.number = max(last for last, _ in self.accounts)

    def carry_out_intent(self):
        if not os.path.exists(INTENT):
            return
        with open(INTENT, "rb") as file:
            intent = unseal(file.read())
        if intent is None:
            return
        number, *changes = intent
        for index, balance in zip(changes[::2], changes[1::2]):
            if self.accounts[index] is None or self.accounts[index][0] < number:
                self.put(index, number, balance)

    def put(self, index, number, balance):
        self.accounts[index] = [number, balance]
        synced(FILE, seal(number, balance), index * RECORD)

    def replace_file(self):
        data = b"".join(seal(*account) for account in self.accounts)
        synced(FILE + ".new", data, flags=os.O_TRUNC)
        os.rename(FILE + ".new", FILE)
        sync_directory()

    def carry_out(self, mode):
        number = self.number + 1
        payer, paid, amount = transfer(number)
        balances = {payer: self.accounts[payer][1] - amount, paid: self.accounts[paid][1] + amount}
        if mode == "write":
            synced(INTENT, seal(number, *(x for item in balances.items() for x in item)))
            for index, balance in balances.items():
                self.put(index, number, balance)
        else:
            for index, balance in balances.items():
                self.accounts[index] = [number, balance]
            self.replace_file()
        self.number = number


def work(log_path, node, mode):
    bank = Bank()
    log = Log(log_path, node)
    while True:
        begun = time.monotonic_ns()
        bank.carry_out(mode)
        log.acknowledge("transfer", bank.number, begun)
        time.sleep(PACE_S)


def expected_balances(last):
    balances = [OPENING] * ACCOUNTS
    for number in range(1, last + 1):
        payer, paid, amount = transfer(number)
        balances[payer] -= amount
        balances[paid] += amount
    return balances


def find_problem(log_path):
    acknowledged = max((entry.number for entry in read_log(log_path)), default=0)
    try:
        bank = Bank()
    except Damaged as damage:
        return str(damage)
    if bank.number < acknowledged:
        return f"transfer {acknowledged} is missing: the last one is {bank.number}"
    balances = [balance for _, balance in bank.accounts]
    if sum(balances) != ACCOUNTS * OPENING:
        return f"the total is {sum(balances)} instead of {ACCOUNTS * OPENING}"
    if balances != expected_balances(bank.number):
        return f"not the balances after {bank.number} transfers"
    print(f"checked: {acknowledged} transfers of {bank.number}")
    return None


def check(directory, log_path):
    return judge(directory, lambda: find_problem(log_path))


if __name__ == "__main__":
    if len(sys.argv) == 6 and sys.argv[1] == "work":
        repeat(sys.argv[2], lambda: work(*sys.argv[3:]))
    if len(sys.argv) == 4 and sys.argv[1] == "check":
        sys.exit(check(*sys.argv[2:]))
    sys.exit(__doc__)

# SPDX-License-Identifier: Apache-2.0
"""Which fault comes at which moment under which client: every combination once before any comes
again, in an order in which each fault, moment and client comes about as often as the others from
the beginning. And the table of what was played."""

import collections
import itertools
import statistics

Hand = collections.namedtuple("Hand", "fault moment client")


class Deck:
    def __init__(self, chance, faults, moments, clients):
        self.chance = chance
        self.names = Hand(list(faults), list(moments), list(clients))
        self.left = []
        self.played = collections.Counter()   # of hands, and of (what, name)
        self.waits = collections.defaultdict(list)

    def deal(self):
        if not self.left:
            self.left = [Hand(*names) for names in itertools.product(*self.names)]
        self.chance.shuffle(self.left)
        hand = min(self.left, key=self._share)
        self.left.remove(hand)
        self.count(hand)
        return hand

    def count(self, hand):
        self.played[hand] += 1
        for what, name in hand._asdict().items():
            self.played[what, name] += 1

    def _share(self, hand):
        """How much of its due the parts of a hand have had."""
        return sum(self.played[what, name] * len(names) for (what, name), names
                   in zip(hand._asdict().items(), self.names))

    def note_wait(self, hand, wait_s):
        self.waits[hand.fault].append(wait_s)

    def table(self):
        moments, clients = self.names.moment, self.names.client
        width = max(map(len, self.names.fault)) + 1
        lines = ["rounds played: " + ", ".join(f"{moment[0]} {moment}" for moment in moments),
                 " " * width + "".join(f"{client:^{3 * len(moments) + 2}}" for client in clients)
                 + "  longest wait, s",
                 " " * width + "".join("  " + "".join(f"{moment[0]:>3}" for moment in moments)
                                       for _ in clients) + "   median   max"]
        for fault in self.names.fault:
            cells = "".join("  " + "".join(f"{self.played[Hand(fault, moment, client)] or '.':>3}"
                                           for moment in moments) for client in clients)
            waits = self.waits[fault]
            wait = f"{statistics.median(waits):9.2f}{max(waits):6.2f}" if waits else ""
            lines.append(f"{fault:<{width}}{cells}{wait}")
        return "\n".join(lines)

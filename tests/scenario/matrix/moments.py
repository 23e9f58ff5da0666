# SPDX-License-Identifier: Apache-2.0
"""The moments at which a fault comes. Each ends at that moment, with the client at work."""

import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tools" / "lib"))
from lab import DATA_PATH  # noqa: E402

BALLAST_MIB = 64     # written before a resync, so that there is a middle to hit
REST_S = 2.5         # intents are cleared by then: twice sync-interval, and a little


class Moments:
    def __init__(self, lab, chance):
        self.lab = lab
        self.chance = chance

    def write(self, client, serving, other):
        """Content is written over in place."""
        client.begin("write")
        self._wait(1.0)

    def names(self, client, serving, other):
        """Files are made, renamed and removed."""
        client.begin("names")
        self._wait(1.0)

    def resync(self, client, serving, other):
        """The other node was away and is being filled, while more is written."""
        client.begin(self._any_mode(client))
        self.lab[other].kill_daemon()
        self.lab.wait_state(serving, "alone")
        ballast = os.path.join(DATA_PATH, "ballast")
        self.lab[serving].inside("dd", "if=/dev/urandom", f"of={ballast}", "bs=1M",
                                 f"count={BALLAST_MIB}", "conv=notrunc", "status=none")
        self.lab.start(other)
        self.lab.wait_state(other, "resync", "secondary")
        self._wait(0.5)

    def swap(self, client, serving, other):
        client.begin(self._any_mode(client))
        asked = self.chance.choice((serving, other))
        client.spawn_on(asked, str(self.lab.binaries / "gemel"), "--run",
                        str(self.lab[asked].run_directory), "swap", "data")
        self._wait(0.6)

    def idle(self, client, serving, other):
        """No intent is left, and work begins again with the fault."""
        mode = self._any_mode(client)
        client.begin(mode)
        client.end()
        time.sleep(REST_S)
        client.begin(mode, waits=False)

    def _any_mode(self, client):
        return self.chance.choice(client.MODES)

    def _wait(self, most_s):
        time.sleep(self.chance.uniform(0.0, most_s))


MOMENTS = [name for name in vars(Moments) if not name.startswith("_")]

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One witness for several clusters, with the real programs: each fails over by its own register,
none gets at another's, and a killed witness forgets nothing."""

import itertools
import json
import pathlib
import signal
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import DATA_PATH, NODES, Lab, default_binaries  # noqa: E402

SHOP = ("gamma", "delta")
PATIENCE_S = 20


class WitnessTest(unittest.TestCase):
    def setUp(self):
        self.lab = Lab(default_binaries())
        self.addCleanup(self.lab.close)
        self.witness = self.lab["witness"]

    def witness_log(self):
        return self.witness.daemon_log.read_text(encoding="utf-8")

    def wait_witness(self, *parts):
        self.lab.wait_for(lambda: all(part in self.witness_log() for part in parts), PATIENCE_S,
                          lambda: f"{parts} in the witness's log")

    def wait_status(self, node, *parts):
        def shown():
            return self.lab.gemel(node, "status", check=False).stdout
        self.lab.wait_for(lambda: all(part in shown() for part in parts), PATIENCE_S,
                          lambda: f"{parts} in the status of {node}, not\n{shown()}")

    def write(self, node, name, text):
        self.lab[node].inside("sh", "-c", f"echo {text} >{DATA_PATH}/{name}")

    def read(self, node, name):
        return self.lab[node].inside("cat", f"{DATA_PATH}/{name}").stdout.strip()

    def epoch(self, node):
        return self.lab.status(node)["epoch"]

    def registers(self):
        return sorted(path.name for path in self.witness.state.glob("*.register"))

    def fail_over(self, nodes, round_number):
        """Kills whoever serves; the other has to go on with everything, and the first returns."""
        serving, other = self.lab.wait_pair(nodes=nodes)
        text = f"{nodes[0]}-{round_number}"
        self.write(serving, "file", text)
        before = self.epoch(serving)
        self.lab[serving].kill_daemon()
        self.lab.wait_state(other, "alone")
        self.assertGreater(self.epoch(other), before)
        self.assertEqual(self.read(other, "file"), text)
        self.write(other, "after", text)
        self.lab.start(serving)
        self.assertEqual(self.lab.wait_pair(nodes=nodes), (other, serving))
        self.assertEqual(self.read(serving, "after"), text)

    def test_two_clusters_fail_over_and_a_killed_witness_forgets_nothing(self):
        self.lab.add_cluster("shop", SHOP)
        self.lab.start("witness", *NODES, *SHOP)
        for nodes in (NODES, SHOP):
            self.lab.wait_pair(nodes=nodes)
        self.assertEqual(len(self.registers()), 2)   # of two mirrors with one name
        self.fail_over(SHOP, 1)
        self.fail_over(SHOP, 2)
        self.fail_over(NODES, 1)
        self.witness.kill_daemon()
        self.lab.start("witness")
        self.wait_witness("witness of cluster 'shop'", "1 mirror recorded")
        for nodes in (NODES, SHOP):
            self.fail_over(nodes, 3)
        self.assertNotEqual(self.epoch(NODES[0]), self.epoch(SHOP[0]))
        self.assertEqual(len(self.registers()), 2)

    def test_everybody_restarted_in_any_order(self):
        self.lab.start()
        for number, order in enumerate(itertools.permutations(("witness", *NODES))):
            serving, _ = self.lab.wait_pair()
            self.write(serving, "file", f"order-{number}")
            for name in order:
                self.lab[name].kill_daemon()
            for name in order:
                self.lab.start(name)
                if name != "witness":   # the others find it deciding already
                    self.lab.wait_for(lambda name=name: self.lab.status(name) is not None,
                                      PATIENCE_S, lambda: "a control socket")
            serving, other = self.lab.wait_pair()
            self.assertEqual(self.read(serving, "file"), f"order-{number}")
            self.assertEqual(self.read(other, "file"), f"order-{number}")

    def test_a_cluster_that_is_added_does_not_disturb_the_first(self):
        self.lab.start()
        serving, _ = self.lab.wait_pair()
        self.write(serving, "file", "kept")
        epoch = self.epoch(serving)
        self.lab.add_cluster("shop", SHOP)
        self.witness.kill_daemon(signal.SIGTERM)
        self.lab.start("witness", *SHOP)
        self.lab.wait_pair(nodes=SHOP)
        self.assertEqual((self.lab.state(serving), self.epoch(serving)), ("primary", epoch))
        self.fail_over(NODES, 1)

    def with_other_cluster(self, name, key):
        """Starts one of the shop's nodes with another name or key of the cluster."""
        config = self.lab["gamma"].config
        text = config.read_text(encoding="utf-8")
        text = text.replace('"shop"', f'"{name}"')
        text = text.replace(str(config.parent / "shop.key"), str(key))
        changed = self.lab.root / "changed.toml"
        changed.write_text(text, encoding="utf-8")
        self.lab["gamma"].config = changed
        self.lab.start("gamma")

    def test_the_key_of_one_cluster_opens_no_other(self):
        self.lab.add_cluster("shop", SHOP)
        self.lab.start("witness")
        self.with_other_cluster("shop", self.lab.root / "cluster.key")
        self.wait_status("gamma", "the witness", "knows no cluster 'shop' or has another key")
        self.wait_witness("another key for cluster 'shop'")
        # Not even by force: what a person decides is not recorded where it does not belong.
        self.lab.gemel("gamma", "promote", "data", "--force")
        self.lab.wait_state("gamma", "alone")
        self.assertEqual(self.registers(), [])

    def test_a_cluster_that_it_does_not_know(self):
        self.lab.add_cluster("shop", SHOP)
        self.lab.start("witness")
        self.with_other_cluster("attic", self.lab["gamma"].config.parent / "shop.key")
        self.wait_status("gamma", "the witness", "knows no cluster 'attic'",
                         "have to be the same on all machines")
        self.wait_witness("says that it belongs to cluster 'attic', which is not known here")
        self.assertEqual(self.registers(), [])

    def test_a_node_may_be_called_witness(self):
        text = self.lab.config.read_text(encoding="utf-8")
        self.lab.config.write_text(text.replace("alpha", "witness"), encoding="utf-8")
        self.lab.start("witness", "beta")
        machine = self.lab["alpha"]
        machine.start_daemon(self.lab.gemeld, "--config", str(machine.config), "--node", "witness",
                             "--state", str(machine.state), "--run", str(machine.run_directory))
        self.lab.wait_pair()

    def refused(self, config):
        state = self.lab.root / "new-state"
        process = self.witness.spawn(str(self.lab.gemeld), "--witness", "--config", str(config),
                                     "--state", str(state), stderr=subprocess.PIPE,
                                     stdout=subprocess.DEVNULL, text=True)
        try:
            _, complaints = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            self.fail("the witness began to work")
        self.assertEqual(process.returncode, 2, complaints)
        self.assertFalse(state.exists(), "something was made")
        return complaints

    def test_mistakes(self):
        self.lab.add_cluster("shop", SHOP)
        folder = self.witness.config
        shop = folder / "shop.toml"
        good = shop.read_text(encoding="utf-8")
        cases = (
            ("shop.key", "../cluster.key", f"shop.toml: the key in '{folder}/../cluster.key' is "
             "that of", "lab.toml, too; a cluster needs a key of its own, `gemel keygen`"),
            ('"shop"', '"lab"', f"shop.toml: cluster 'lab' is in {folder}/lab.toml already"),
            ('kind = "witness"', 'kind = "none"', "shop.toml: names no witness", "[arbiter] needs"),
            ("[failover]", "[failovr]", "shop.toml:8:2: unknown key 'failovr'; did you mean"),
            ("shop.key", "none.key", "`gemel keygen"),
        )
        for old, new, *expected in cases:
            with self.subTest(mistake=new):
                changed = good.replace(old, new, 1)
                self.assertNotEqual(changed, good)
                shop.write_text(changed, encoding="utf-8")
                complaints = self.refused(folder)
                for part in expected:
                    self.assertIn(part, complaints)
        shop.write_text(good, encoding="utf-8")
        (folder / "shop.key").chmod(0o644)
        self.assertIn("chmod 600", self.refused(folder))
        (self.lab.root / "empty").mkdir()
        self.assertIn("empty: has no *.toml in it", self.refused(self.lab.root / "empty"))
        self.assertIn("cannot be read", self.refused(self.lab.root / "missing"))
        # Two addresses, of which one is not this machine's.
        (folder / "shop.key").chmod(0o600)
        shop.write_text(good.replace("10.77.0.9:7801", "10.77.0.77:7801"), encoding="utf-8")
        process = self.witness.inside(str(self.lab.gemeld), "--witness", "--config", str(folder),
                                      "--state", str(self.lab.root / "new-state"), check=False)
        self.assertEqual(process.returncode, 1)
        self.assertIn("can't listen on 10.77.0.77:7801 for cluster 'shop'", process.stderr)

    def test_two_addresses(self):
        self.lab.add_cluster("shop", SHOP)
        shop = self.lab["gamma"].config
        shop.write_text(shop.read_text(encoding="utf-8").replace("10.77.0.9:7801",
                                                                 "10.77.1.9:7805"),
                        encoding="utf-8")
        self.lab.start("witness", *NODES, *SHOP)
        for nodes in (NODES, SHOP):
            self.lab.wait_pair(nodes=nodes)
        status = json.loads(self.lab.gemel("gamma", "status", "--json").stdout)
        self.assertEqual(status["cluster"], "shop")


if __name__ == "__main__":
    unittest.main(verbosity=2)

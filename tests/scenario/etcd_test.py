#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two real nodes whose arbiter is Debian's etcd, three members of it: any of them may be down, a
majority has to be there for a change and for nothing else, and whoever is restarted in whatever
order ends in service."""

import os
import pathlib
import platform
import signal
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
import unpacked  # noqa: E402
from lab import DATA_PATH, ETCD, NODES, Lab, default_binaries  # noqa: E402

PATIENCE_S = 60
TLS = """
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca \
    -keyout ca.key -out ca.pem
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=lab -keyout key.pem \
    -out request.pem
printf 'subjectAltName=IP:10.77.0.11,IP:10.77.0.12,IP:10.77.0.13\\n' >names
openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
    -extfile names -out certificate.pem
"""


@unittest.skipIf(unpacked.missing(), unpacked.missing())
class EtcdTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.etcd = unpacked.unpacked("etcd") / "usr" / "bin" / "etcd"

    def setUp(self):
        self.lab = Lab(default_binaries(), arbiter="etcd")
        self.addCleanup(self.lab.close)
        self.tls = []           # more arguments of the members
        self.scheme = "http"

    def start_etcd(self, *names):
        """Members keep what they had; they are not waited for."""
        for name in names:
            machine = self.lab[name]
            here = f"{self.scheme}://{self.lab.address(name)}:2379"
            peers = {m: f"http://{self.lab.address(m)}:2380" for m in ETCD}
            machine.start_daemon(
                "env", "ETCD_UNSUPPORTED_ARCH=" +
                ("arm64" if platform.machine() == "aarch64" else ""), self.etcd,
                "--name", name, "--data-dir", machine.root / "etcd",
                "--listen-client-urls", here, "--advertise-client-urls", here,
                "--listen-peer-urls", peers[name], "--initial-advertise-peer-urls", peers[name],
                "--initial-cluster", ",".join(f"{m}={url}" for m, url in peers.items()), *self.tls)

    def kill(self, *names):
        for name in names:
            self.lab[name].kill_daemon()

    def start_all(self):
        self.start_etcd(*ETCD)
        self.lab.start(*NODES)
        return self.lab.wait_pair()

    def write(self, node, name, text):
        self.lab[node].inside("sh", "-c", f"echo {text} >{DATA_PATH}/{name}")

    def read(self, node, name):
        return self.lab[node].inside("cat", f"{DATA_PATH}/{name}").stdout.strip()

    def reason(self, node):
        return (self.lab.status(node) or {}).get("reason", "")

    def fail_over(self, text):
        """Kills whoever serves; the other has to go on with everything, and the first returns."""
        serving, other = self.lab.wait_pair()
        self.write(serving, "file", text)
        before = self.lab.status(other)["epoch"]
        self.kill(serving)
        self.lab.wait_state(other, "alone")
        self.assertGreater(self.lab.status(other)["epoch"], before)
        self.assertEqual(self.read(other, "file"), text)
        self.write(other, "after", text)
        self.lab.start(serving)
        self.assertEqual(self.lab.wait_pair(), (other, serving))
        self.assertEqual(self.read(serving, "after"), text)

    def test_any_member_may_be_down(self):
        self.start_all()
        self.kill(ETCD[0])          # the one that is asked first
        self.fail_over("dead")
        self.start_etcd(ETCD[0])
        self.lab.wait_for(lambda: self.is_healthy(ETCD[0]), PATIENCE_S, lambda: "its health")
        # Paused instead of dead: it takes requests and answers none.
        self.lab[ETCD[1]].daemon.send_signal(signal.SIGSTOP)
        self.fail_over("paused")

    def is_healthy(self, member):
        url = f"{self.scheme}://{self.lab.address(member)}:2379/health"
        answer = self.lab["client"].inside("python3", "-c", "import sys, urllib.request as u; "
                                           "print(u.urlopen(sys.argv[1], timeout=2).read())", url,
                                           check=False)
        return "true" in answer.stdout

    def test_without_a_majority_nothing_changes_and_everything_heals(self):
        serving, other = self.start_all()
        self.kill(*ETCD[:2])
        epoch = self.lab.status(serving)["epoch"]
        self.write(serving, "file", "in-sync")
        self.assertEqual(self.read(other, "file"), "in-sync")
        self.assertEqual((self.lab.state(serving), self.lab.state(other)),
                         ("primary", "secondary"))
        # Nobody can record that the other one is gone: service ends, and says why.
        self.kill(other)
        self.lab.wait_for(lambda: self.lab.state(serving) == "wait"
                          and "no member of etcd answers: 10.77.0.1" in self.reason(serving),
                          PATIENCE_S, lambda: self.reason(serving))
        self.assertEqual(self.lab.status(serving)["epoch"], epoch)
        self.assertIn("10.77.0.11:2379: Connection refused", self.reason(serving))
        self.start_etcd(ETCD[0])
        self.lab.wait_state(serving, "alone")
        self.assertEqual(self.read(serving, "file"), "in-sync")
        self.lab.start(other)
        self.lab.wait_pair()
        self.start_etcd(ETCD[1])
        self.fail_over("healed")

    def test_restarted_in_any_order(self):
        self.start_all()
        alpha, beta = ("alpha",), ("beta",)
        orders = ((alpha, ETCD, beta), (ETCD, beta, alpha), (beta, alpha, ETCD))
        for number, order in enumerate(orders):
            serving, _ = self.lab.wait_pair()
            self.write(serving, "file", f"order-{number}")
            self.kill(*NODES, *ETCD)
            for names in order:
                if names == ETCD:
                    self.start_etcd(*names)
                else:
                    self.lab.start(*names)
                    self.lab.wait_for(lambda names=names: self.lab.status(*names) is not None,
                                      PATIENCE_S, lambda: "a control socket")
            serving, other = self.lab.wait_pair()
            self.assertEqual(self.read(serving, "file"), f"order-{number}")
            self.assertEqual(self.read(other, "file"), f"order-{number}")

    def test_tls(self):
        folder = self.lab.root
        subprocess.run(["sh", "-ec", TLS], cwd=folder, check=True, capture_output=True)
        self.scheme = "https"
        self.tls = ["--cert-file", folder / "certificate.pem", "--key-file", folder / "key.pem",
                    "--trusted-ca-file", folder / "ca.pem", "--client-cert-auth"]
        with_ca = f'[arbiter]\nca = "{folder}/ca.pem"\n'
        with_both = (f'{with_ca}certificate = "{folder}/certificate.pem"\n'
                     f'private-key = "{folder}/key.pem"\n')
        config = self.lab.config
        plain = config.read_text(encoding="utf-8")
        self.start_etcd(*ETCD)
        for settings, complaint in (("[arbiter]\n", "no member of etcd answers"),
                                    (with_ca, "alert bad certificate")):
            config.write_text(plain.replace("[arbiter]\n", settings), encoding="utf-8")
            self.lab.start("alpha")
            self.lab.wait_for(lambda c=complaint: c in self.reason("alpha"), PATIENCE_S,
                              lambda: self.reason("alpha"))
            self.kill("alpha")
        config.write_text(plain.replace("[arbiter]\n", with_both), encoding="utf-8")
        self.lab.start(*NODES)
        self.fail_over("private")


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C")
    unittest.main(verbosity=2)

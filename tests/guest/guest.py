# SPDX-License-Identifier: Apache-2.0
"""Guests for tests: Debian's 6.1 kernel and a small system of busybox in QEMU, without KVM where
there is none. What they consist of is unpacked, not installed, from the packages of group `guest`
(tools/lib/install.sh) into a cache outside the source, once. A test names the kernel modules and
programs that its guest needs, starts a Guest, and gives it commands over a serial line; what the
kernel says is in Guest.console.

A system may run from its initramfs alone, or be installed on a disk (`medium`, install_guest.sh)
and be booted from it by the firmware."""

import collections
import io
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
import unpacked  # noqa: E402

QEMU = "qemu-system-x86_64"
PATIENCE_S = 300
MEMORY = "256M"
ACCELERATOR = "kvm" if os.access("/dev/kvm", os.W_OK) else "tcg"
VIRTIO = ("virtio_pci", "virtio_blk")
# What a kernel says of a disk or a file system that has failed.
FAILURE = re.compile(r"I/O error|EXT4-fs (error|warning)|Aborting journal|Remounting|Call Trace")
STATUS = re.compile(r"^\[status (\d+)\]$")


def missing():
    """Why no guest can run here, in a sentence, or None."""
    if not shutil.which(QEMU):
        return f"guests need {QEMU}, which is not installed"
    return unpacked.missing()


# ---- what a guest consists of --------------------------------------------------------------------


class System:
    """The files of a guest: busybox, /init, kernel modules, programs with their libraries."""

    def __init__(self, modules=(), programs=()):
        self.packages = unpacked.unpacked("guest")
        self.kernel = next((self.packages / "boot").glob("vmlinuz-*"))
        self.entries = {}       # path -> (mode, content); a link's content is its target
        for folder in ("dev", "proc", "sys", "run", "tmp", "mnt", "root"):
            self.entries[folder] = (stat.S_IFDIR | 0o755, b"")
        self.add("init", HERE / "guest_init.sh")
        self.entries["sbin/init"] = (stat.S_IFLNK | 0o777, b"/init")
        self.add("guest/install_guest.sh", HERE / "install_guest.sh")
        self.add("bin/busybox", self.packages / "bin" / "busybox")
        listed = subprocess.run([self.packages / "bin" / "busybox", "--list"], check=True,
                                text=True, capture_output=True).stdout
        for applet in listed.split():
            self.entries.setdefault(f"bin/{applet}", (stat.S_IFLNK | 0o777, b"/bin/busybox"))
        self._add_modules((*VIRTIO, *modules))
        for program in programs:
            self.add_program(program)

    def add(self, path, source):
        """A file of this machine."""
        content = pathlib.Path(source).read_bytes()
        executable = content.startswith((b"#!", b"\x7fELF"))
        self.entries[str(path)] = (stat.S_IFREG | (0o755 if executable else 0o644), content)

    def add_program(self, name, path=None):
        """A program of the unpacked packages, or else of this machine, or one that was built here
        (then `path` is its own), with its libraries; in the guest it is /sbin/NAME, which busybox
        has to be told whole where it has an applet of the name."""
        if path is None:
            folders = ("usr/sbin", "usr/bin", "sbin", "bin")
            inside = [self.packages / folder / name for folder in folders]
            path = next((p for p in inside if p.exists()), None) or shutil.which(
                name, path="/usr/sbin:/usr/bin:/sbin:/bin")
        assert path, f"{name}: neither unpacked nor installed"
        self.add(f"sbin/{name}", path)
        folders = [self.packages / "usr/lib/x86_64-linux-gnu",
                   self.packages / "lib/x86_64-linux-gnu"]
        found = subprocess.run(
            ["ldd", path], check=False, text=True, capture_output=True,
            env={**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, folders))}).stdout
        for library in re.findall(r"(/\S+) \(0x", found):
            place = library.removeprefix(str(self.packages)).lstrip("/")
            self.entries.setdefault(place, (stat.S_IFREG | 0o755,
                                            pathlib.Path(library).read_bytes()))

    def _add_modules(self, names):
        """With what they depend on, which /init loads in the order of modules/order."""
        kernel = next((self.packages / "lib" / "modules").iterdir())
        paths = {p.stem.replace("-", "_"): p for p in kernel.rglob("*.ko")}
        builtin = {pathlib.Path(line).stem.replace("-", "_")
                   for line in (kernel / "modules.builtin").read_text().split()}
        order = {}

        def visit(name):
            if name in order or name in builtin:
                return
            content = paths[name].read_bytes()
            needs = re.search(rb"\0depends=([^\0]*)\0", content)
            for need in needs.group(1).decode().split(",") if needs else ():
                if need:
                    visit(need.replace("-", "_"))
            order[name] = content

        for name in names:
            visit(name)
        for name, content in order.items():
            self.entries[f"modules/{name}.ko"] = (stat.S_IFREG | 0o644, content)
        listed = "".join(f"{name}.ko\n" for name in order).encode()
        self.entries["modules/order"] = (stat.S_IFREG | 0o644, listed)

    def _complete(self, entries):
        """The folders that entries stand in before them."""
        whole = {}
        for path, entry in entries.items():
            for parent in reversed(pathlib.PurePath(path).parents[:-1]):
                whole.setdefault(str(parent), (stat.S_IFDIR | 0o755, b""))
            whole[path] = entry
        return whole

    def initramfs(self, path):
        """Writes the archive of form `newc` that the kernel unpacks; returns its path."""
        with open(path, "wb") as file:
            entries = [*self._complete(self.entries).items(), ("TRAILER!!!", (0, b""))]
            for inode, (name, (mode, content)) in enumerate(entries, 1):
                fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
                head = b"070701" + b"".join(b"%08X" % field for field in fields)
                for part in (head + name.encode() + b"\0", content):
                    file.write(part + b"\0" * (-len(part) % 4))
        return path

    def medium(self, path, initramfs):
        """What install_guest.sh installs from: an archive as the content of a disk."""
        boot = {"boot/vmlinuz": (stat.S_IFREG | 0o644, self.kernel.read_bytes()),
                "boot/initramfs": (stat.S_IFREG | 0o644, pathlib.Path(initramfs).read_bytes()),
                "boot/mbr.bin": (stat.S_IFREG | 0o644,
                                 (self.packages / "usr/lib/EXTLINUX/mbr.bin").read_bytes())}
        with tarfile.open(path, "w") as archive:
            for name, (mode, content) in self._complete({**self.entries, **boot}).items():
                info = tarfile.TarInfo(name)
                info.mode = stat.S_IMODE(mode)
                if stat.S_ISLNK(mode):
                    info.type, info.linkname = tarfile.SYMTYPE, content.decode()
                elif stat.S_ISDIR(mode):
                    info.type = tarfile.DIRTYPE
                else:
                    info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return path


# ---- a guest while it runs -----------------------------------------------------------------------


class Guest:
    """A virtual machine. `prefix` is put before QEMU's command line, to start it in namespaces."""

    def __init__(self, console, options, prefix=(), kernel=None, initramfs=None, append=""):
        command = [*prefix, QEMU, "-machine", f"pc,accel={ACCELERATOR}", "-m", MEMORY,
                   "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
                   "-serial", f"file:{console}", "-serial", "stdio", *map(str, options)]
        if kernel:
            command += ["-kernel", kernel, "-initrd", initramfs,
                        "-append", f"console=ttyS0 quiet panic=-1 {append}"]
        self._console = pathlib.Path(console)
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace")
        self._changed = threading.Condition()
        self._lines = collections.deque()
        self._over = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line.rstrip("\r\n"))
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def console(self):
        """What the kernel has said, and QEMU's firmware before it."""
        return self._console.read_text(errors="replace") if self._console.exists() else ""

    def line(self, patience=PATIENCE_S):
        """The next line of what the guest says; None when it has ended."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._lines or self._over, patience):
                raise AssertionError(f"the guest says nothing for {patience} s:\n{self.tail()}")
            return self._lines.popleft() if self._lines else None

    def failures(self):
        """The lines in which the kernel complains of a disk."""
        return [line for line in self.console().splitlines() if FAILURE.search(line)]

    def tail(self):
        return self.console()[-4000:]

    def wait_ready(self):
        """Until the guest takes commands."""
        seen = []
        while not seen or seen[-1] != "[ready]":
            seen.append(self.line())
            assert seen[-1] is not None, f"the guest ended: {seen}\n{self.tail()}"
        return self

    def begin(self, command):
        """A command whose lines are read by line() while it runs; its last one is its status."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def run(self, command, check=True):
        """Runs a line of shell; returns its text, or with check=False its status and text."""
        self.begin(command)
        text = []
        while True:
            line = self.line()
            assert line is not None, f"the guest ended in: {command}\n{text}\n{self.tail()}"
            status = STATUS.match(line)
            if status:
                break
            text.append(line)
        said = "\n".join(text)
        if not check:
            return int(status.group(1)), said
        assert int(status.group(1)) == 0, f"{command}\n{said}\n{self.tail()}"
        return said

    def power_off(self):
        """As a person would; waits for the end."""
        self.begin("poweroff -f" if self.run("cat /run/root") == "initramfs" else "halt_guest")
        assert self.process.wait(PATIENCE_S) == 0, self.tail()
        self.close()

    def kill(self):
        """As if its machine had lost its power."""
        self.process.kill()
        self.close()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdin.close()
        self.process.stdout.close()

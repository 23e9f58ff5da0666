# SPDX-License-Identifier: Apache-2.0
"""What is resynchronised: volumes made and changed by rule, so that a copy can be put back as it
was and every row can prove that both copies are equal at its end."""

import contextlib
import functools
import os
import random
import shutil
import subprocess

BLOCK = 4096
MIB = 1 << 20
IGNORED_AT_ROOT = {".gemel", "lost+found"}
FILES_A_DIRECTORY = 100


def seeded(*parts):
    return random.Random(":".join(map(str, parts)))


@functools.lru_cache(maxsize=1)
def noise():
    """Bytes that nothing compresses, more than any compressor looks back on."""
    return seeded("noise").randbytes(64 * MIB)


def block_of(index, version, compressible=False):
    """Block `index` of a file after its change number `version`."""
    if compressible:
        return (b"%d of version %d; " % (index, version) * (BLOCK // 16))[:BLOCK]
    return seeded(index, version).randbytes(BLOCK)


def make_file(path, size, compressible=False):
    """A file in which no two blocks are equal. `size` is a multiple of a MiB."""
    with open(path, "wb", buffering=0) as file:
        for chunk in range(size // MIB):
            first = chunk * (MIB // BLOCK)
            if compressible:
                data = b"".join(block_of(first + i, 0, True) for i in range(MIB // BLOCK))
            else:
                begin = chunk * 7919 * 4096 % (63 * MIB)
                data = bytearray(noise()[begin:begin + MIB])
                for block in range(MIB // BLOCK):
                    data[block * BLOCK:block * BLOCK + 8] = (first + block).to_bytes(8, "little")
            file.write(data)
        os.fsync(file.fileno())


class FileVolume:
    """One large file. `pattern`: "blocks" (random ones of 4 KiB) or "sequential" (a run)."""

    def __init__(self, size, share, pattern="blocks", compressible=False):
        self.size = size
        self.pattern = pattern
        self.compressible = compressible
        self.count = max(1, round(size // BLOCK * share))
        self.old = {}           # block -> what stood there before the last change

    def describe(self):
        return f"a file of {self.size // MIB} MiB"

    @property
    def changed_bytes(self):
        return self.count * BLOCK

    def make(self, root):
        make_file(os.path.join(root, "volume"), self.size, self.compressible)

    def chosen(self, version):
        blocks = self.size // BLOCK
        if self.pattern == "sequential":
            first = version * self.count % (blocks - self.count + 1)
            return range(first, first + self.count)
        return sorted(seeded("chosen", version).sample(range(blocks), self.count))

    def change(self, root, version):
        """Writes this version's blocks; what they held is kept for undo()."""
        self.old = {}
        with open(os.path.join(root, "volume"), "r+b", buffering=0) as file:
            for block in self.chosen(version):
                self.old[block] = os.pread(file.fileno(), BLOCK, block * BLOCK)
                os.pwrite(file.fileno(), block_of(block, version, self.compressible),
                          block * BLOCK)
            os.fsync(file.fileno())

    def undo(self, root):
        """A copy that has the last change is as it was before it, and looks changed."""
        with open(os.path.join(root, "volume"), "r+b", buffering=0) as file:
            for block, data in self.old.items():
                os.pwrite(file.fileno(), data, block * BLOCK)
            os.fsync(file.fileno())
        os.utime(os.path.join(root, "volume"), (1, 1))


class TreeVolume:
    """Many small files, a hundred to a directory; some change as a whole."""

    def __init__(self, files, share, size=1536, alone=False):
        self.files = files
        self.size = size
        self.count = max(1, round(files * share))
        step = max(1, files // self.count)
        self.numbers = [i * step for i in range(self.count)]
        self.alone = alone      # only those that will change

    def describe(self):
        return f"{self.files} files of {self.size} bytes"

    @property
    def changed_bytes(self):
        return self.count * self.size

    @staticmethod
    def path(number):
        return f"d{number // FILES_A_DIRECTORY}/f{number}"

    def content(self, number, version):
        begin = number * 64 % MIB
        return (b"%d %d " % (number, version) + noise()[begin:begin + self.size])[:self.size]

    def make(self, root):
        for number in self.numbers if self.alone else range(self.files):
            if self.alone or number % FILES_A_DIRECTORY == 0:
                os.makedirs(os.path.join(root, os.path.dirname(self.path(number))), exist_ok=True)
            with open(os.path.join(root, self.path(number)), "wb", buffering=0) as file:
                file.write(self.content(number, 0))

    def change(self, root, version):
        for number in self.numbers:
            with open(os.path.join(root, self.path(number)), "r+b", buffering=0) as file:
                file.write(self.content(number, version))

    def undo(self, root):
        for number in self.numbers:
            path = os.path.join(root, self.path(number))
            with open(path, "r+b", buffering=0) as file:
                file.write(bytes(self.size))
            os.utime(path, (1, 1))


class GivenVolume:
    """A copy of a directory of the user's. `pattern`: "files" rewrites whole files, "blocks" and
    "sequential" blocks of 4 KiB in all of them, until the share of the bytes is reached."""

    def __init__(self, directory, share, pattern):
        self.directory = directory
        self.share = share
        self.pattern = pattern
        self.changed_bytes = 0
        self.old = []           # (path, offset, bytes) before the last change

    def describe(self):
        return f"a copy of {self.directory}"

    def make(self, root):
        subprocess.run(["cp", "-a", "--", self.directory + "/.", root], check=True)

    def _files(self, root):
        found = []
        for path, stat in entries(root):
            if stat.st_size and os.path.isfile(os.path.join(root, path)) and \
                    not os.path.islink(os.path.join(root, path)):
                found.append((path, stat.st_size))
        return found

    def _pieces(self, root, version):
        """(path, offset, size) to change."""
        files = self._files(root)
        wanted = int(sum(size for _, size in files) * self.share)
        rng = seeded("given", version)
        taken = set()
        while wanted > 0 and files:
            path, size = files[rng.randrange(len(files))]
            offset = 0
            piece = size
            if self.pattern != "files":
                count = 1 if self.pattern == "blocks" else 256
                offset = rng.randrange((size + BLOCK - 1) // BLOCK) * BLOCK
                piece = min(count * BLOCK, size - offset)
            if (path, offset) in taken:
                if len(taken) > 4 * sum((size + BLOCK - 1) // BLOCK for _, size in files):
                    return
                wanted -= 1     # nearly all is taken: this comes to an end
                continue
            taken.add((path, offset))
            wanted -= piece
            yield path, offset, piece

    def change(self, root, version):
        self.old, self.changed_bytes = [], 0
        rng = seeded("bytes", version)
        for path, offset, size in list(self._pieces(root, version)):
            with open(os.path.join(root, path), "r+b", buffering=0) as file:
                self.old.append((path, offset, os.pread(file.fileno(), size, offset)))
                os.pwrite(file.fileno(), rng.randbytes(size), offset)
            self.changed_bytes += size

    def undo(self, root):
        for path, offset, data in reversed(self.old):
            with open(os.path.join(root, path), "r+b", buffering=0) as file:
                os.pwrite(file.fileno(), data, offset)
            os.utime(os.path.join(root, path), (1, 1))


def entries(root):
    """Yields (relative path, lstat) of all below `root`, in one order, without gemel's own."""
    pending = [""]
    while pending:
        directory = pending.pop()
        with os.scandir(os.path.join(root, directory)) as scan:
            found = sorted(scan, key=lambda entry: entry.name)
        for entry in found:
            if not directory and entry.name in IGNORED_AT_ROOT:
                continue
            path = os.path.join(directory, entry.name)
            stat = entry.stat(follow_symlinks=False)
            yield path, stat
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)


def same_content(left, right):
    with open(left, "rb", buffering=0) as one, open(right, "rb", buffering=0) as other:
        while True:
            data = one.read(4 * MIB)
            if data != other.read(len(data) or 1):
                return False
            if not data:
                return True


def first_difference(left, right):
    """None where both trees have the same names, types, modes, owners, times of modification, links
    and bytes; else a sentence. Directories' times are compared too."""
    ours, theirs = entries(left), entries(right)
    for one in ours:
        other = next(theirs, None)
        if other is None or one[0] != other[0]:
            return f"{one[0]} is on one side only, or {other and other[0]}"
        for field in ("st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_nlink"):
            if getattr(one[1], field) != getattr(other[1], field):
                return f"{one[0]} differs in {field}"
        pair = [os.path.join(root, one[0]) for root in (left, right)]
        if os.path.islink(pair[0]):
            if os.readlink(pair[0]) != os.readlink(pair[1]):
                return f"{one[0]} points elsewhere"
        elif os.path.isfile(pair[0]):
            if one[1].st_size != other[1].st_size or not same_content(*pair):
                return f"{one[0]} differs in its bytes"
    extra = next(theirs, None)
    return None if extra is None else f"{extra[0]} is on one side only"


def prove_equal(left, right, what):
    """No figure without it."""
    difference = first_difference(str(left), str(right))
    if difference is not None:
        raise RuntimeError(f"{what}: the copies are not equal: {difference}")


def drop_caches(root):
    """From here on reads are the disk's: all that is dirty is written, and the page cache and what
    is known of names and inodes is dropped, of the whole machine."""
    subprocess.run(["sync", "-f", str(root)], check=True)
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3")


def empty(root):
    for entry in os.scandir(root):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry.path)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares two directory trees wholly, by means that are not gemel's: names, types, content, holes,
hard links, owners, modes, modification times, symbolic links, device numbers, ACLs and extended
attributes. Change and birth time cannot be set and are left out; access times are compared for
regular files alone, since looking at the others changes theirs.

usage: tree_compare.py [--exclude PATTERN]... LEFT RIGHT
prints every difference, but for names that are kept per node; exit 1 when there is one"""

import argparse
import fnmatch
import hashlib
import os
import stat
import sys

IGNORED_AT_ROOT = {b".gemel", b"lost+found"}
IGNORED_XATTRS = ("trusted.gemel.",)
BLOCK = 4096


def matches(components, names):
    """Whether a pattern's components match exactly these names; `**` any number of them."""
    if not components:
        return not names
    if components[0] == b"**":
        least = 1 if len(components) == 1 else 0
        return any(matches(components[1:], names[count:])
                   for count in range(least, len(names) + 1))
    return bool(names) and fnmatch.fnmatchcase(names[0], components[0]) and \
        matches(components[1:], names[1:])


def is_excluded(patterns, path, is_directory):
    """As docs/exclude.md says it (no backslashes), of a path whose directories are not excluded."""
    names = path.split(b"/")
    for pattern in map(os.fsencode, patterns):
        bare = pattern.removesuffix(b"/")
        if bare != pattern and not is_directory:
            continue
        components = bare.removeprefix(b"/").split(b"/")
        if b"/" not in bare:
            components = [b"**", *components]
        if matches(components, names):
            return True
    return False


def walk(root, exclude=()):
    """Yields (relative path, lstat) of everything below `root` that is not excluded, and of the
    root itself."""
    yield b"", os.lstat(root)
    pending = [b""]
    while pending:
        directory = pending.pop()
        for name in sorted(os.listdir(os.path.join(root, directory) if directory else root)):
            if not directory and name in IGNORED_AT_ROOT:
                continue
            path = os.path.join(directory, name) if directory else name
            info = os.lstat(os.path.join(root, path))
            if is_excluded(exclude, path, stat.S_ISDIR(info.st_mode)):
                continue
            yield path, info
            if stat.S_ISDIR(info.st_mode):
                pending.append(path)


def content(path, size):
    """A digest of the content and the list of 4 KiB blocks that are holes."""
    digest = hashlib.blake2b()
    holes = []
    fd = os.open(path, os.O_RDONLY | os.O_NOATIME)
    try:
        # Reserved blocks without content count as a hole, but as data while the page cache has
        # pages of them, which a mere read puts there: of the two copies, only one may be cached.
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        position = 0
        while position < size:
            try:
                data = os.lseek(fd, position, os.SEEK_DATA)
            except OSError:
                data = size
            if data > position:
                holes.append((-(-position // BLOCK), data // BLOCK if data < size else -1))
            position = data
            if position >= size:
                break
            end = min(os.lseek(fd, position, os.SEEK_HOLE), size)
            position = end
        offset = 0
        while chunk := os.pread(fd, 1 << 20, offset):
            digest.update(chunk)
            offset += len(chunk)
    finally:
        os.close(fd)
    return digest.hexdigest(), [hole for hole in holes if hole[0] != hole[1]]


def xattrs(path):
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False)
            for name in names if not name.startswith(IGNORED_XATTRS)}


def describe(root, path, info, links):
    """Everything that must be equal of one object, as a dictionary for a readable difference."""
    full = os.path.join(root, path) if path else root
    facts = {"type": stat.S_IFMT(info.st_mode), "owner": (info.st_uid, info.st_gid),
             "mtime": info.st_mtime_ns, "xattrs": xattrs(full)}
    if not stat.S_ISLNK(info.st_mode):
        facts["mode"] = oct(stat.S_IMODE(info.st_mode))
    if not stat.S_ISDIR(info.st_mode):
        # Hard links: the first path (in walking order) of the same object, and how many it has.
        facts["links"] = info.st_nlink
        facts["same object as"] = links.setdefault(info.st_ino, path)
    if stat.S_ISREG(info.st_mode):
        facts["size"] = info.st_size
        facts["atime"] = info.st_atime_ns
        facts["content"], facts["holes"] = content(full, info.st_size)
    elif stat.S_ISLNK(info.st_mode):
        facts["target"] = os.readlink(full)
    elif stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
        facts["device"] = info.st_rdev
    return facts


def compare(left, right, exclude=()):
    """A list of sentences, one a difference. `exclude`: patterns of names kept per node."""
    left, right = os.fsencode(left), os.fsencode(right)
    trees = []
    for root in (left, right):
        links = {}
        trees.append({path: describe(root, path, info, links)
                      for path, info in walk(root, exclude)})
    differences = []
    for path in sorted(trees[0].keys() | trees[1].keys()):
        shown = repr(os.fsdecode(path or b"."))
        if path not in trees[0] or path not in trees[1]:
            differences.append(f"{shown}: only in the {'left' if path in trees[0] else 'right'}")
            continue
        one, two = trees[0][path], trees[1][path]
        for key in sorted(one.keys() | two.keys()):
            if one.get(key) != two.get(key):
                differences.append(f"{shown}: {key}: {one.get(key)!r} and {two.get(key)!r}")
    return differences


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exclude", action="append", default=[], metavar="PATTERN")
    parser.add_argument("left")
    parser.add_argument("right")
    options = parser.parse_args()
    differences = compare(options.left, options.right, options.exclude)
    print("".join(f"{difference}\n" for difference in differences), end="")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())

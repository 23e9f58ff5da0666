#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Performs every kind of change that a file system offers in the directory given, checking what a
program would see, so that the two copies can be compared afterwards. Runs inside a node."""

import ctypes
import ctypes.util
import errno
import fcntl
import mmap
import os
import socket
import stat
import subprocess
import sys

libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16
AT_FDCWD = -100
O_TMPFILE = 0o20200000


def call(function, *arguments):
    result = getattr(libc, function)(*arguments)
    if result == -1:
        raise OSError(ctypes.get_errno(), f"{function}: {os.strerror(ctypes.get_errno())}")
    return result


def renameat2(old, new, flags):
    call("renameat2", AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)


def fallocate(fd, mode, offset, size):
    call("fallocate", fd, mode, ctypes.c_long(offset), ctypes.c_long(size))


def write_file(name, data, mode=0o644):
    fd = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
    finally:
        os.close(fd)


def read_file(name):
    with open(name, "rb") as file:
        return file.read()


def refused(code, function, *arguments, **options):
    """The call must fail with exactly this errno."""
    try:
        function(*arguments, **options)
    except OSError as error:
        assert error.errno == code, f"{function.__name__}{arguments}: {error}"
        return
    raise AssertionError(f"{function.__name__}{arguments} was not refused")


def contents():
    write_file("small", b"hello\n")
    write_file("big", os.urandom(5 << 20))
    write_file("overwritten", b"a" * 100_000)
    fd = os.open("overwritten", os.O_RDWR)
    os.pwrite(fd, b"B" * 5000, 30_000)
    os.pwrite(fd, b"tail", 250_000)        # leaves a hole
    os.ftruncate(fd, 300_000)
    os.ftruncate(fd, 200_000)
    os.fsync(fd)
    os.close(fd)
    assert read_file("overwritten")[29_999:35_001] == b"a" + b"B" * 5000 + b"a"
    assert os.path.getsize("overwritten") == 200_000


def appends():
    """Two writers with O_APPEND: nothing is written over."""
    one = os.open("appended", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    two = os.open("appended", os.O_WRONLY | os.O_APPEND)
    for i in range(50):
        os.write(one, b"1" * 100 + b"\n")
        os.write(two, b"2" * 100 + b"\n")
    os.close(one)
    os.close(two)
    assert sorted(set(read_file("appended").split())) == [b"1" * 100, b"2" * 100]
    assert len(read_file("appended")) == 100 * 101


def synchronous():
    fd = os.open("o_sync", os.O_CREAT | os.O_WRONLY | os.O_SYNC, 0o644)
    os.write(fd, b"synchronous" * 1000)
    os.close(fd)
    fd = os.open("o_direct", os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o644)
    buffer = mmap.mmap(-1, 8192)
    buffer.write(b"D" * 8192)
    os.pwrite(fd, buffer, 4096)
    os.close(fd)
    assert read_file("o_direct") == bytes(4096) + b"D" * 8192


def allocation():
    write_file("allocated", b"x" * 400_000)
    fd = os.open("allocated", os.O_RDWR)
    fallocate(fd, 0, 400_000, 100_000)
    fallocate(fd, FALLOC_KEEP_SIZE, 500_000, 100_000)
    fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 40_960, 81_920)
    fallocate(fd, FALLOC_ZERO_RANGE, 200_000, 50_000)
    assert os.fstat(fd).st_size == 500_000
    assert os.pread(fd, 81_920, 40_960) == bytes(81_920)
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 40_960
    assert os.lseek(fd, 40_960, os.SEEK_DATA) == 122_880
    # What was never written stays a hole of the copy, though it is in the page cache from here on.
    assert read_file("allocated")[400_000:] == bytes(100_000)
    os.close(fd)
    source = os.open("big", os.O_RDONLY)
    target = os.open("copied", os.O_CREAT | os.O_WRONLY, 0o644)
    copied = os.copy_file_range(source, target, 1 << 20, 4096, 8192)
    assert copied > 0
    os.close(source)
    os.close(target)
    assert read_file("copied")[8192:8192 + copied] == read_file("big")[4096:4096 + copied]


def mapped():
    write_file("mapped", bytes(64 * 1024))
    fd = os.open("mapped", os.O_RDWR)
    with mmap.mmap(fd, 64 * 1024, mmap.MAP_SHARED) as memory:
        memory[100:105] = b"mmap!"
        memory[50_000:50_006] = b"second"
        memory.flush()
    os.close(fd)
    assert read_file("mapped")[100:105] == b"mmap!"


def names():
    os.mkdir("dir")
    os.makedirs("deep/" + "/".join(f"level{i}" for i in range(40)))
    write_file("dir/file", b"content")
    os.link("dir/file", "dir/second name")
    os.link("dir/file", "elsewhere")
    os.symlink("dir/file", "link")
    os.symlink("x" * 3000, "long link")
    os.symlink("nowhere", "dangling")
    os.mkfifo("fifo", 0o622)
    os.mknod("device", stat.S_IFCHR | 0o640, os.makedev(1, 7))
    os.mknod("block", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    write_file("n" * 255, b"longest name")
    refused(errno.ENAMETOOLONG, os.mkdir, "n" * 256)
    write_file(b"not utf-8 \xff\xfe\x80", b"bytes")
    write_file("replaced", b"old")
    write_file("replacing", b"new")
    os.rename("replacing", "replaced")
    assert read_file("replaced") == b"new"
    os.mkdir("moved")
    os.rename("moved", "dir/moved")
    os.rename("dir/moved", "dir/renamed")
    write_file("left", b"left")
    os.mkdir("right")
    renameat2("left", "right", RENAME_EXCHANGE)
    assert os.path.isdir("left") and read_file("right") == b"left"
    refused(errno.EEXIST, renameat2, "right", "small", RENAME_NOREPLACE)
    write_file("gone", b"gone")
    os.unlink("gone")
    os.mkdir("empty")
    os.rmdir("empty")
    refused(errno.ENOTEMPTY, os.rmdir, "dir")
    refused(errno.EEXIST, os.mkdir, "dir")
    refused(errno.ENOENT, os.unlink, "gone")
    refused(errno.EINVAL, os.rename, "deep", "deep/level0/inside")


def attributes():
    write_file("attributes", b"a")
    os.chown("attributes", 1234, 5678)
    os.chmod("attributes", 0o4751)
    os.utime("attributes", ns=(1_000_000_000_123_456_789, 1_100_000_000_987_654_321))
    info = os.stat("attributes")
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (1234, 5678, 0o4751)
    assert info.st_mtime_ns == 1_100_000_000_987_654_321
    os.lchown("link", 11, 12)
    os.utime("link", ns=(5, 6_000_000_007), follow_symlinks=False)
    os.setxattr("attributes", "user.colour", b"red")
    os.setxattr("attributes", "user.colour", b"blue", os.XATTR_REPLACE)
    os.setxattr("attributes", "user.empty", b"")
    os.setxattr("attributes", "trusted.other", b"\x00\x01binary")
    os.setxattr("attributes", "user.removed", b"x")
    os.removexattr("attributes", "user.removed")
    refused(errno.ENODATA, os.getxattr, "attributes", "user.removed")
    refused(errno.EEXIST, os.setxattr, "attributes", "user.colour", b"", os.XATTR_CREATE)
    assert sorted(os.listxattr("attributes")) == ["trusted.other", "user.colour", "user.empty"]
    assert os.listxattr("small") == []       # what gemel keeps there is not shown
    os.setxattr("dir", "user.directory", b"yes")
    # A change of owner and a write both drop the set-id bits.
    write_file("set-id", b"#!")
    os.chmod("set-id", 0o6755)
    os.chown("set-id", 99, 99)
    assert stat.S_IMODE(os.stat("set-id").st_mode) == 0o755


def access_lists():
    subprocess.run(["setfacl", "-m", "u:1000:rw,g:1001:r", "attributes"], check=True)
    os.mkdir("acl")
    os.chmod("acl", 0o2775)
    os.chown("acl", 0, 4242)
    os.chmod("acl", 0o2775)
    subprocess.run(["setfacl", "-d", "-m", "u:1000:rwx,o::-", "acl"], check=True)
    write_file("acl/inherits", b"x", 0o666)
    os.mkdir("acl/sub")
    assert os.stat("acl/inherits").st_gid == 4242
    assert os.stat("acl/sub").st_mode & stat.S_ISGID
    shown = subprocess.run(["getfacl", "-nc", "acl/inherits"], check=True, capture_output=True,
                           text=True).stdout
    assert "user:1000:rwx" in shown and "other::---" in shown, shown


def temporary():
    fd = os.open(".", O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"nameless at first")
    call("linkat", AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, b"named later", 0x400)
    os.close(fd)
    assert read_file("named later") == b"nameless at first"
    fd = os.open(".", O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"never named")
    os.close(fd)
    # An unlinked open file lives until it is closed.
    fd = os.open("unlinked", os.O_CREAT | os.O_RDWR, 0o600)
    os.write(fd, b"still here")
    os.unlink("unlinked")
    os.pwrite(fd, b"and grows", 10)
    assert os.pread(fd, 100, 0) == b"still hereand grows"
    assert os.fstat(fd).st_nlink == 0
    os.close(fd)
    refused(errno.ENOENT, os.stat, "unlinked")


def locks():
    fd = os.open("small", os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX)
    child = os.fork()
    if child == 0:
        other = os.open("small", os.O_RDWR)
        try:
            fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0, "a POSIX lock did not exclude another process"
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.close(fd)


def unprivileged():
    """What an ordinary user may and may not do is decided as on any file system."""
    os.mkdir("public")
    os.chmod("public", 0o1777)
    os.chmod(".", 0o755)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(2001, 2001, 2001)
            os.setresuid(2000, 2000, 2000)
            refused(errno.EACCES, os.mkdir, "not allowed")
            write_file("public/mine", b"owned by 2000", 0o666)
            info = os.stat("public/mine")
            assert (info.st_uid, info.st_gid) == (2000, 2001), info
            refused(errno.EPERM, os.chown, "public/mine", 0, 0)
            refused(errno.EACCES, open, "attributes", "w")
            os.chmod("public/mine", 0o4755)
            os.chmod("public/mine", 0o600)
            refused(errno.EPERM, os.setxattr, "public/mine", "trusted.x", b"")
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, "as an ordinary user"


def listing():
    """A directory larger than one answer of the kernel, listed while names go."""
    os.mkdir("many")
    for i in range(3000):
        write_file(f"many/{i:05}", b"")
    assert sorted(os.listdir("many")) == [f"{i:05}" for i in range(3000)]
    with os.scandir("many") as entries:
        seen = 0
        for entry in entries:
            seen += 1
            if seen % 2:
                os.unlink(entry.path)
    assert seen == 3000, seen
    assert len(os.listdir("many")) == 1500


def main():
    os.chdir(sys.argv[1])
    os.umask(0o022)
    for step in (contents, appends, synchronous, allocation, mapped, names, attributes,
                 access_lists, temporary, locks, unprivileged, listing):
        try:
            step()
        except BaseException as error:
            print(f"{step.__name__}: {error!r}", file=sys.stderr)
            raise


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Packages that tests use without installing them: those of one group of tools/lib/install.sh are
downloaded with apt-get and unpacked into a cache outside the source, once. So a package whose
installation would start a service or change the machine does neither."""

import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import subprocess

INSTALL_LIST = pathlib.Path(__file__).resolve().with_name("install.sh")


def packages(group):
    """The names in the list, where a metapackage stands for what it depends on."""
    text = INSTALL_LIST.read_text(encoding="utf-8")
    return re.findall(rf"^{group} +(\S+)", text, re.M)


def missing():
    """Why nothing can be unpacked here, in a sentence, or None."""
    for program in ("apt-get", "dpkg-deb"):
        if not shutil.which(program):
            return f"packages are unpacked with {program}, which is not here"
    return None


def _fetch(folder, names):
    """Downloads and unpacks into folder/root."""
    apt = dict(cwd=folder, check=True, text=True, capture_output=True)
    wanted = []
    for name in names:
        shown = subprocess.run(["apt-cache", "show", "--no-all-versions", name], **apt).stdout
        kernel = re.search(r"^Depends: (linux-image-6\.1\S*)", shown, re.M)
        wanted.append(kernel.group(1) if kernel else name)
    subprocess.run(["apt-get", "download", "-qq", *wanted], **apt)
    for package in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, folder / "root"], check=True)
        package.unlink()


def unpacked(group):
    """The folder with the unpacked packages; fetches them where they are not there yet."""
    names = packages(group)
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    key = hashlib.sha256(" ".join(sorted(names)).encode()).hexdigest()[:16]
    cache = base / "gemel" / f"{group}-{key}"
    cache.parent.mkdir(parents=True, exist_ok=True)
    with open(cache.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not cache.exists():
            fresh = cache.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            try:
                _fetch(fresh, names)
            except subprocess.CalledProcessError:
                # Lists of packages that are older than the archive name what is gone.
                subprocess.run(["apt-get", "update", "-qq"], check=True)
                _fetch(fresh, names)
            fresh.rename(cache)
    return cache / "root"

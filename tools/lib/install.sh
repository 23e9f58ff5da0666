# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The Debian 12 packages that gemel is built, tested and shown with: the only list of them
# (docs/dependencies.md says more about each; the `tidy` test keeps the two equal). Sourced by
# tools/test and tools/demo. Nothing is installed that is there, nothing without being named.

# group package reason (guest, etcd, postgres: unpacked by tools/lib/unpacked.py for tests, never
# installed)
GEMEL_PACKAGES='
build cmake                  configures the build
build ninja-build            runs it
build g++                    GCC 12, the compiler of Debian 12
build pkg-config             finds the libraries without a CMake package
build ccache                 makes the second build of the same source free
build liburing-dev           io_uring, the real side of the I/O seam
build libxxhash-dev          XXH3: checksums of frames, records and regions
build libzstd-dev            Zstandard: compresses what is sent when it pays
build libssl-dev             HMAC-SHA-256: the proof of the cluster key
build libtomlplusplus-dev    reads gemel.toml and knows lines and columns
build libcli11-dev           command lines of the binaries
build nlohmann-json3-dev     JSON of the control socket
build libfmt-dev             text for people: tables, messages
build libspdlog-dev          log lines of gemeld
build libmicrohttpd-dev      HTTP server of the control socket
build libcurl4-openssl-dev   HTTP client of the gemel command
build libgtest-dev           GoogleTest
build libsqlite3-dev         SQLite: an example keeps a database on a volume
build libbenchmark-dev       Google Benchmark
build clang-16               compiles the change tracker for the kernel
build bpftool                makes their skeleton for the loader
build libbpf-dev             loads them
test  xfsprogs               file systems to track changes on
test  btrfs-progs            the same
test  sqlite3                a program whose changes are tracked
test  rsync                  the same
test  git                    the same
test  python3                house rules and test scripts
test  spin                   visits every state of the model of who serves
test  clang-16               the second compiler: everything builds without a warning there too
test  libclang-rt-16-dev     its sanitizers
test  llvm-16                llvm-symbolizer: names in reports, and what is no leak
test  groff-base             checks the manual pages
test  doxygen                makes the documentation of the API, and finds what has none
test  iproute2               two nodes on one machine: network namespaces and their links
test  nftables               cuts between them, in one direction too
test  acl                    sets and shows the ACLs that have to be mirrored
test  libnbd-bin             NBD clients: nbdinfo and nbdcopy
test  python3-libnbd         integrity_client.py, an NBD client with many requests in flight
test  fuse3                  ends what nbdfuse has mounted
test  qemu-utils             NBD clients: qemu-img and qemu-io
test  fio                    NBD client with its nbd engine: random writes, verified
test  qemu-system-x86        guests: a kernel of their own, disks that are mirrored
test  socat                  leads TCP connections of a guest to the socket of a volume
test  e2fsprogs              makes and checks the file systems of guests
bench iperf3                 measures the link beside a resync
bench python3-matplotlib     draws the plot of gemel-bench resync
guest linux-image-cloud-amd64 their kernel: 6.1 of Debian, the oldest that gemel runs on
guest busybox-static         their shell and tools
guest extlinux               boots an installed guest from its disk
guest nbd-client             connects the NBD client of their kernel
guest libnl-3-200            what nbd-client speaks to the kernel with
guest libnl-genl-3-200       the same
etcd  etcd-server            an arbiter: three members of it
postgres postgresql-15        a client of the mirror in the matrix of faults: server, amcheck
postgres postgresql-client-15 pg_amcheck
postgres libpq5               their client library
demo  python3                runs the demo, its application and its client
demo  iproute2               two nodes on one machine: network namespaces and their links
fuzz  clang-16               compiles the fuzz targets
fuzz  libclang-rt-16-dev     libFuzzer: tools/dev fuzz
tidy  clang-format-14        tools/dev fmt
tidy  clang-tidy-14          tools/dev tidy
'

# install_packages GROUP...: installs the missing packages of the groups with apt-get, as root or
# through sudo, saying which and why. Fails with a sentence where that cannot work.
install_packages() {
  local group package reason missing=()
  while read -r group package reason; do
    [[ -n $group && " $* " == *" $group "* ]] || continue
    if [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
      missing+=("$package")
      printf 'missing: %-22s %s\n' "$package" "$reason"
    fi
  done <<<"$GEMEL_PACKAGES"
  ((${#missing[@]})) || return 0

  local root=()
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      echo "cannot install: neither root nor sudo. As root: apt-get install ${missing[*]}" >&2
      return 1
    fi
    root=(sudo)
  fi
  echo "installing with apt-get: ${missing[*]}"
  "${root[@]}" apt-get update -qq &&
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# build_preset PRESET [TARGET...]: configures and builds build/PRESET under the current directory,
# which is the root of the repository.
build_preset() {
  local preset=$1
  shift
  cmake --preset "$preset" >/dev/null &&
    cmake --build --preset "$preset" -j "$(nproc)" ${1:+--target "$@"}
}

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Goal: what `cmake --install` leaves behind works without the source tree.
# Method: install into a temporary prefix and look for each kind of file; libgemel.so exports its
# API and nothing else; then build and run consumers in C and C++, and the examples of
# docs/library.md, through find_package, through pkg-config, and against the archive.
# Usage: install_test.sh BUILD_DIR C_COMPILER CXX_COMPILER
set -euo pipefail

build=$1 cc=$2 cxx=$3
consumer=$(dirname "$(readlink -f "$0")")/consumer
tree=$(dirname "$(dirname "$(dirname "$consumer")")")
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
prefix=$temporary/prefix

fail() {
  echo "$*" >&2
  exit 1
}

cmake --install "$build" --prefix "$prefix" >/dev/null

for file in sbin/gemeld bin/gemel lib/systemd/system/{gemeld,gemeld-witness,gemel-guard}.service \
  share/man/{man8/gemeld.8,man1/gemel.1,man1/gemel-bench.1,man5/gemel.toml.5} \
  share/doc/gemel/README.md share/gemel/{bench/mirror.py,lib/lab.py} \
  include/gemel.h include/gemel/{error,volume,mirror,node}.hpp; do
  [[ -f $prefix/$file ]] || fail "not installed: $file"
done
if grep -rlF -e "$tree" "$prefix" --include='*.cmake' --include='*.pc' --include='*.service'; then
  fail "names the source tree"
fi

# ---- what the library exports ----------------------------------------------------------------

library=$(find "$prefix" -name libgemel.so)
libraries=$(dirname "$library")
readelf -d "$library" | grep -q 'SONAME.*\[libgemel\.so\.0\]' || fail "another soname"
nm -D --defined-only "$library" | awk '$2 != "A" {print $3}' | sort >"$temporary/exported"
grep -v -e '^gemel_[a-z_]*@@GEMEL_0\.1$' -e '^_ZN8libgemel.*@@GEMEL_CXX_0\.1$' \
  "$temporary/exported" && fail "exported, but no API"
sed -n 's/^GEMEL_API.*[ *]\(gemel_[a-z_]*\)(.*/\1@@GEMEL_0.1/p' "$prefix/include/gemel.h" |
  sort >"$temporary/declared"
grep '^gemel_' "$temporary/exported" | diff - "$temporary/declared" ||
  fail "gemel.h and what is exported differ"

# ---- consumers -------------------------------------------------------------------------------

examples=$temporary/examples
mkdir "$examples"
page=$prefix/share/doc/gemel/docs/library.md
awk '/^```c$/ {on = 1; next} /^```/ {on = 0} on' "$page" >"$examples/library.c"
awk '/^```cpp$/ {on = 1; next} /^```/ {on = 0} on' "$page" >"$examples/library.cpp"

expect() {
  local output
  output=$("$1") || fail "$1: exit status $?"
  [[ $output == *"$2"* && $output == *"the node does not serve the mirror"* ]] ||
    fail "$1 says: $output"
}
check() {
  expect "$1/consumer_c" "unknown key 'clusters'"
  expect "$1/consumer_cxx" "'disk \"0\"' is no name for a volume"
}

cmake -S "$consumer" -B "$temporary/build" -DEXAMPLES="$examples" -DCMAKE_C_COMPILER="$cc" \
  -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$temporary/build" >"$temporary/log" 2>&1 || fail "$(cat "$temporary/log")"
check "$temporary/build"

export PKG_CONFIG_PATH=$libraries/pkgconfig LD_LIBRARY_PATH=$libraries
mkdir "$temporary/pkg" "$temporary/static"
# shellcheck disable=SC2046  # words are wanted
"$cc" "$consumer/consumer_c.c" -o "$temporary/pkg/consumer_c" $(pkg-config --cflags --libs gemel)
# shellcheck disable=SC2046
"$cxx" -std=c++20 "$consumer/consumer_cxx.cpp" -o "$temporary/pkg/consumer_cxx" \
  $(pkg-config --cflags --libs gemel)
check "$temporary/pkg"

private=$(pkg-config --static --libs gemel | sed 's/-lgemel /-l:libgemel.a /')
# shellcheck disable=SC2046,SC2086
"$cc" "$consumer/consumer_c.c" -o "$temporary/static/consumer_c" $(pkg-config --cflags gemel) \
  $private
# shellcheck disable=SC2046,SC2086
"$cxx" -std=c++20 "$consumer/consumer_cxx.cpp" -o "$temporary/static/consumer_cxx" \
  $(pkg-config --cflags gemel) $private
if ldd "$temporary/static/consumer_c" | grep libgemel; then fail "not linked statically"; fi
check "$temporary/static"

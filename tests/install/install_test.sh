#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Goal: what `cmake --install` leaves behind works without the source tree.
# Method: install into a temporary prefix, look for each kind of file, then build and run a consumer
# through find_package and again through pkg-config.
# Usage: install_test.sh BUILD_DIR CXX_COMPILER
set -euo pipefail

build=$1 compiler=$2
consumer=$(dirname "$(readlink -f "$0")")/consumer
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
prefix=$temporary/prefix

cmake --install "$build" --prefix "$prefix" >/dev/null

for file in sbin/gemeld bin/gemel lib/systemd/system/{gemeld,gemeld-witness,gemel-guard}.service \
  share/man/{man8/gemeld.8,man1/gemel.1,man1/gemel-bench.1,man5/gemel.toml.5} \
  share/doc/gemel/README.md share/gemel/{bench/mirror.py,lib/lab.py} \
  include/gemel/engine/base/status.hpp; do
  if [[ ! -f $prefix/$file ]]; then
    echo "not installed: $file" >&2
    exit 1
  fi
done
if grep -rlF -e "$(dirname "$(dirname "$(dirname "$consumer")")")" "$prefix" \
  --include='*.cmake' --include='*.pc' --include='*.service'; then
  echo "names the source tree" >&2
  exit 1
fi

cmake -S "$consumer" -B "$temporary/build" -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$temporary/build" >/dev/null
[[ $("$temporary/build/consumer") == 7 ]]

PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name gemel.pc)")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046  # words are wanted
"$compiler" -std=c++20 "$consumer/consumer.cpp" -o "$temporary/consumer" \
  $(pkg-config --static --cflags --libs gemel)
[[ $("$temporary/consumer") == 7 ]]

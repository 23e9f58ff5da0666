#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
#
# Inside a guest: records.sh write FIRST makes numbered records, a file and a line of a log each,
# and says `synced N` once N has to survive; it ends at the first error. records.sh check LAST says
# how many there are, and fails when one up to LAST is missing or is not as it was written.

set -e
folder=/records

content() {
  yes "record $1" | head -c $(($1 * 977 % 40000 + 1))
}

case $1 in
  write)
    mkdir -p "$folder"
    number=$2
    while :; do
      content "$number" >"$folder/new"
      sync "$folder/new"
      mv "$folder/new" "$folder/$number"
      sync "$folder"
      echo "record $number" >>"$folder/log"
      sync "$folder/log"
      echo "synced $number"
      number=$((number + 1))
    done
    ;;
  check)
    number=1
    while [ "$number" -le "$2" ]; do
      content "$number" | cmp - "$folder/$number"
      number=$((number + 1))
    done
    seq 1 "$2" | sed 's/^/record /' >/run/wanted
    head -n "$2" "$folder/log" | cmp - /run/wanted
    wc -l <"$folder/log"
    ;;
esac

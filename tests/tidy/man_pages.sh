#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Goal: every manual page is one that groff understands without a complaint.
set -euo pipefail

cd "$(dirname "$(readlink -f "$0")")/../../docs/man"
failed=0
for page in *.[1-8]; do
  complaints=$(groff -mandoc -Tutf8 -ww -z "$page" 2>&1) || failed=1
  if [[ -n $complaints ]]; then
    printf '%s\n' "$complaints"
    failed=1
  fi
done
exit $failed

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# ssh, scp and systemctl as setup_test.py needs them between namespaces; called by those names.
# $MACHINES holds a file for each host name, with the pid whose namespaces are that machine.
set -euo pipefail

on_host() {
  local host=$1
  shift
  [[ $host != localhost ]] || host=$(hostname)
  nsenter --target="$(<"$MACHINES/$host")" --net --mount --uts -- bash -euc "$*"
}

# As systemd would, from the unit that is installed. A strict one gets no capabilities and may write
# in its own directories only.
start_unit() {
  local unit=/usr/local/lib/systemd/system/$1.service command
  grep -q '^WantedBy=' "$unit"
  compgen -G "$(sed -n 's/^ConditionPathExists\(Glob\)\?=//p' "$unit")" >/dev/null
  command=$(sed -n 's/^ExecStart=//p' "$unit")
  if grep -q '^Type=oneshot' "$unit"; then
    $command
    return
  fi
  local run=()
  if grep -q '^ProtectSystem=strict' "$unit"; then
    run=(unshare --mount bash -euc '
      for directory in $1; do
        mkdir -p "$directory"
        mount --bind "$directory" "$directory"
      done
      for place in / /etc /srv /var/lib /run /usr/local; do
        mount -o remount,bind,ro "$place"
      done
      shift
      exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all "$@"' sandbox
      "$(sed -n 's|^StateDirectory=|/var/lib/|p; s|^RuntimeDirectory=|/run/|p' "$unit")")
  fi
  setsid "${run[@]}" $command >>"$MACHINES/$(hostname).log" 2>&1 </dev/null &
  echo $! >>"$MACHINES/pids"
}

case ${0##*/} in
  ssh) on_host "$@" ;;
  scp)
    # scp -rp DIRECTORY HOST:PARENT/
    [[ $1 == -rp ]]
    tar -C "$(dirname "$2")" -cp "$(basename "$2")" | on_host "${3%%:*}" "tar -C ${3#*:} -xp"
    ;;
  systemctl)
    [[ "$1 $2" == "enable --now" ]]
    for unit in "${@:3}"; do start_unit "$unit"; done
    ;;
  *) exit 127 ;;
esac

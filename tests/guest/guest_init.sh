#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
#
# The first program of a guest, twice: out of the initramfs, where with root=DEVICE it checks that
# file system and goes on there; and as /init of the installed system. Then it takes commands from
# the second serial line, a line of shell each, and ends what each says with `[status N]`.

export PATH=/bin:/sbin

# Lets the kernel replay the journal, then looks whether everything fits: `clean`, or what e2fsck
# found.
check_root() {
  mount -t ext4 "$1" /mnt && umount /mnt || { echo 'cannot be mounted'; return; }
  /sbin/e2fsck -f -n "$1" >/run/e2fsck 2>&1 && echo clean || cat /run/e2fsck
}

if [ ! -e /proc/self ]; then
  mount -t proc proc /proc
  mount -t sysfs sys /sys
  mount -t devtmpfs dev /dev
  mount -t tmpfs run /run
  while read -r module; do insmod "/modules/$module"; done </modules/order
  root=$(sed -n 's/.*root=\([^ ]*\).*/\1/p' /proc/cmdline)
  echo "${root:-initramfs}" >/run/root
  if [ -n "$root" ]; then
    until [ -b "$root" ]; do usleep 20000; done
    check_root "$root" >/run/root_check
    mount -t ext4 "$root" /mnt
    for folder in proc sys dev run; do mount --move "/$folder" "/mnt/$folder"; done
    exec switch_root /mnt /init
  fi
fi

stty -F /dev/ttyS1 raw -echo
exec </dev/ttyS1 >/dev/ttyS1 2>&1
echo '[ready]'
while read -r line; do
  [ "$line" = halt_guest ] && break
  sh -c "$line" </dev/null
  echo "[status $?]"
done
mount -o remount,ro /
sync
poweroff -f

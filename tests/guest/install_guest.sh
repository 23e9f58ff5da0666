#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
#
# install_guest.sh DISK MEDIUM: inside a guest, installs the system of the medium on an empty disk,
# which can be booted then: partition, file system, files, boot loader.

set -e
disk=$1 medium=$2
printf '%s\n' n p 1 2048 '' a 1 w | fdisk "$disk" >/run/fdisk
/sbin/mke2fs -q -t ext4 -L system "${disk}1"
mount -t ext4 "${disk}1" /mnt
tar -x -f "$medium" -C /mnt
cat >/mnt/boot/extlinux.conf <<'END'
DEFAULT system
LABEL system
  LINUX /boot/vmlinuz
  INITRD /boot/initramfs
  APPEND console=ttyS0 quiet panic=-1 root=/dev/vda1
END
/sbin/extlinux --install /mnt/boot
dd if=/mnt/boot/mbr.bin of="$disk" bs=440 count=1 conv=notrunc 2>/run/dd
umount /mnt
sync

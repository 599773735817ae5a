#!/bin/sh
# Python in the root file system beside this file (userland.py puts it there). It sees the working directory
# and LABD_DATASETS under their own paths, read-only, and has a /tmp, its home, of its own. Every mount is in a
# namespace of these processes and ends with them.
set -eu
exec unshare --mount --pid --fork --kill-child sh -eu -c '
  root=$1
  shift
  here=$(pwd -P)
  mount -t proc proc "$root/proc"
  mount -t tmpfs tmpfs "$root/tmp"
  for folder in "$here" "${LABD_DATASETS:-}"; do
    if [ -d "$folder" ]; then
      mkdir -p "$root$folder"
      mount --bind "$folder" "$root$folder"
      mount -o remount,bind,ro "$root$folder"
    fi
  done
  # No exec: the shell stays process 1 of the namespace and reaps what tests leave behind.
  chroot "$root" env --chdir="$here" HOME=/tmp PATH=/usr/bin:/bin LANG=C.UTF-8 python3 "$@"
' sh "$(cd "$(dirname "$0")/../root" && pwd -P)" "$@"

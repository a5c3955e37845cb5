#!/usr/bin/env bash
# qemu.sh FOLDER/qemu-CPU: user-mode QEMU 10 or later for that CPU (x86_64, aarch64) as that file.
#
# QEMU below 10 will not do: under 7.2, which Debian 12 has, the import of onnxruntime 1.31 crashes. Where the one on
# PATH is older or absent, it is unpacked out of bookworm-backports: one static file; nothing is installed on this
# machine. The file is complete or absent: it appears by rename.
set -euo pipefail
[ $# = 1 ] || { sed -n '2,6p' "$0"; exit 2; }
[ -x "$1" ] && exit 0
name="$(basename "$1")"
folder="$(dirname "$1")"
mkdir -p "$folder"
work="$(mktemp -d "$folder/.qemu.XXXXXX")"
trap 'rm -rf "$work"' EXIT

found="$(command -v "$name" || true)"
major="$([ -n "$found" ] && "$found" --version | sed -n '1s/.*version \([0-9]*\).*/\1/p' || echo 0)"
if [ "$major" -ge 10 ]; then
  cp -L "$found" "$work/$name"
else
  . "$(dirname "$0")/private_apt.sh"
  (cd "$work" && private "$(dpkg --print-architecture)" bookworm-backports download qemu-user)
  dpkg-deb --fsys-tarfile "$work"/qemu-user_*.deb | tar -x -C "$work" --strip-components=3 "./usr/bin/$name"
fi
"$work/$name" --version >/dev/null
mv -T "$work/$name" "$1"

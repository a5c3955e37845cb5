#!/usr/bin/env bash
# userland.sh FOLDER: an arm64 userland in FOLDER that runs on x86-64 under user-mode QEMU 10.
#
#   FOLDER/python-cortex-a53, python-cortex-a76   interpreters: the arm64 Python 3.11 on that processor
#   FOLDER/root    glibc and Python out of Debian's arm64 packages, unpacked; nothing is installed on this machine
#   FOLDER/site    numpy, onnxruntime and ai-edge-litert: the arm64 wheels, in the versions of constraints.txt
#
# The emulator is ../emulated/qemu.sh's. FOLDER is complete or absent: it appears by rename.
# `-cpu max` is not offered: SME kernels take a minute for one inference there.
set -euo pipefail
[ $# = 1 ] || { sed -n '2,9p' "$0"; exit 2; }
folder="$1"
here="$(cd "$(dirname "$0")" && pwd)"
[ -x "$folder/python-cortex-a76" ] && exit 0
command -v python3 >/dev/null || { echo "userland.sh: python3 is not here" >&2; exit 1; }

mkdir -p "$(dirname "$folder")"
work="$(mktemp -d "$(dirname "$folder")/.arm64.XXXXXX")"
trap 'rm -rf "$work"' EXIT

# 1. The emulator.
. "$here/../emulated/private_apt.sh"
"$here/../emulated/qemu.sh" "$work/qemu-aarch64"
mkdir "$work/debs"

# 2. glibc, Python and what its modules link against.
(cd "$work/debs" && private arm64 bookworm download \
  libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libbz2-1.0 liblzma5 libffi8 libssl3 libcrypt1 libuuid1 \
  python3.11-minimal libpython3.11-minimal libpython3.11-stdlib)
mkdir "$work/root"
for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$work/root"; done
rm -rf "$work"/debs "$work"/apt-*

# 3. The runtimes, in the versions that edgekit is tested with.
python3 -m pip download --quiet --disable-pip-version-check --dest "$work/wheels" \
  --only-binary :all: --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none \
  --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
  --constraint "$here/../../constraints.txt" numpy onnxruntime ai-edge-litert
mkdir "$work/site"
for wheel in "$work"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$work/site"; done
rm -rf "$work/wheels"

# 4. One interpreter for each processor: plain NEON, and dotprod with fp16. A child is started by the name in
# EDGEKIT_AGENT_PYTHON: the emulated process cannot start an arm64 file itself.
for cpu in cortex-a53 cortex-a76; do
  cat > "$work/python-$cpu" <<LAUNCHER
#!/bin/sh
here="\$(dirname "\$(readlink -f "\$0")")"
export EDGEKIT_AGENT_PYTHON="\$here/python-$cpu" PYTHONPATH="\$here/site" PYTHONHOME="\$here/root/usr" PYTHONNOUSERSITE=1
exec "\$here/qemu-aarch64" -cpu $cpu -L "\$here/root" "\$here/root/usr/bin/python3.11" "\$@"
LAUNCHER
  chmod +x "$work/python-$cpu"
done
"$work/python-cortex-a76" -c 'import platform; assert platform.machine() == "aarch64"'
chmod 755 "$work"
trap - EXIT
mv -T "$work" "$folder"

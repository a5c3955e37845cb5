#!/usr/bin/env bash
# vulkan.sh FOLDER: Vulkan drivers that compute on the processor, in FOLDER; nothing is installed on this machine.
#
#   FOLDER/swiftshader.json   SwiftShader, out of Debian's chromium: float32 only, quick to compile
#   FOLDER/lavapipe.json      Mesa 25's llvmpipe, out of bookworm-backports: float16 too, slow to compile
#   FOLDER/lib                the Vulkan loader and what the two link against (for LD_LIBRARY_PATH)
#
# Mesa 22, which Debian 12 has, will not do: Dawn finds no adapter in it. An installed chromium is taken as it is; else
# its package is unpacked (113 MB are fetched). FOLDER is complete or absent: it appears by rename. How to use it: README.md.
set -euo pipefail
[ $# = 1 ] || { sed -n '2,9p' "$0"; exit 2; }
folder="$1"
[ -f "$folder/lavapipe.json" ] && exit 0
for tool in apt-get dpkg; do
  command -v $tool >/dev/null || { echo "vulkan.sh: $tool is not here (Debian or Ubuntu is needed)" >&2; exit 1; }
done
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -f "$keys" ] || { echo "vulkan.sh: $keys is not here (package debian-archive-keyring)" >&2; exit 1; }

mkdir -p "$(dirname "$folder")"
work="$(mktemp -d "$(dirname "$folder")/.vulkan.XXXXXX")"
trap 'rm -rf "$work"' EXIT
private() { # private SUITE COMMAND...: apt-get with that suite alone, and lists of its own
  local apt="$work/apt-$1" archive
  local options=(-q -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=-
    -o Dir::State="$apt" -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status"
    -o Dir::Cache="$apt/cache" -o APT::Sandbox::User= -o Acquire::Languages=none)
  if [ ! -d "$apt" ]; then
    mkdir -p "$apt"/{lists/partial,cache/archives/partial}
    : > "$apt/status"
    case "$1" in *-security) archive=debian-security ;; *) archive=debian ;; esac
    echo "deb [signed-by=$keys] http://deb.debian.org/$archive $1 main" > "$apt/sources.list"
    apt-get "${options[@]}" update >&2
  fi
  apt-get "${options[@]}" "${@:2}" >&2
}
unpacked() { # unpacked SUITE PACKAGE...: into root/
  (cd "$work/debs" && private "$1" download "${@:2}")
  for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$work/root"; done
  rm "$work"/debs/*.deb
}
mkdir "$work/debs" "$work/root" "$work/lib"

# 1. Mesa 25, the loader, and every library that libvulkan_lvp.so names, but for libc, libgcc, libstdc++, zlib and
# zstd, which Debian always has.
unpacked bookworm-backports mesa-vulkan-drivers libdrm2
unpacked bookworm libvulkan1 libllvm15 libz3-4 libedit2 libbsd0 libmd0 libtinfo6 libicu72 libxml2 liblzma5 libffi8 \
  libexpat1 libwayland-client0 libx11-xcb1 libx11-6 libxcb1 libxau6 libxdmcp6 libxcb-dri3-0 libxcb-present0 \
  libxcb-randr0 libxcb-shm0 libxcb-sync1 libxcb-xfixes0 libxshmfence1
find "$work/root" \( -name 'lib*.so*' ! -name 'libvulkan_*' -o -name libvulkan_lvp.so \) \( -type f -o -type l \) \
  -exec mv -t "$work/lib" {} +
rm -rf "$work/root" "$work"/lib/libVkLayer_* "$work"/lib/libicu{i18n,io,test,tu}.* && mkdir "$work/root"

# 2. SwiftShader: a file of chromium-common since chromium 156, of chromium before.
swiftshader=/usr/lib/chromium/libvk_swiftshader.so
for package in chromium-common chromium; do
  [ -f "$swiftshader" ] && break
  unpacked bookworm-security "$package"
  swiftshader="$work/root/usr/lib/chromium/libvk_swiftshader.so"
done
cp "$swiftshader" "$work/lib/"
rm -rf "$work/root" "$work/debs" "$work"/apt-*

# 3. What the loader reads: VK_DRIVER_FILES names one of these.
icd() { printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "./lib/%s", "api_version": "1.1.0"}}\n' "$1"; }
icd libvk_swiftshader.so > "$work/swiftshader.json"
icd libvulkan_lvp.so > "$work/lavapipe.json"
missing="$(LD_LIBRARY_PATH="$work/lib" ldd "$work/lib/libvulkan_lvp.so" "$work/lib/libvk_swiftshader.so" \
  "$work/lib/libvulkan.so.1" | grep 'not found' || true)"
[ -z "$missing" ] || { echo "vulkan.sh: libraries are missing: $missing" >&2; exit 1; }
chmod 755 "$work"
trap - EXIT
mv -T "$work" "$folder"

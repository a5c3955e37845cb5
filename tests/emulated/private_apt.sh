# Sourced: private ARCHITECTURE SUITE COMMAND... runs apt-get with that suite of Debian alone, in "$work".
#
# Its lists and cache lie under $work, so that this machine's stay as they are; nothing is installed.
keys=/usr/share/keyrings/debian-archive-keyring.gpg
for tool in apt-get dpkg; do
  command -v $tool >/dev/null || { echo "$0: $tool is not here (Debian or Ubuntu is needed)" >&2; exit 1; }
done
[ -f "$keys" ] || { echo "$0: $keys is not here (package debian-archive-keyring)" >&2; exit 1; }

private() {
  local apt="$work/apt-$1-$2"
  if [ ! -d "$apt" ]; then
    mkdir -p "$apt"/{lists/partial,cache/archives/partial,etc}
    : > "$apt/status"
    echo "deb [signed-by=$keys] http://deb.debian.org/debian $2 main" > "$apt/sources.list"
    _private "$1" "$apt" -o Acquire::Languages=none update
  fi
  _private "$1" "$apt" "${@:3}"
}

_private() { # _private ARCHITECTURE FOLDER ARGUMENTS...
  apt-get -q -o Dir::Etc::sourcelist="$2/sources.list" -o Dir::Etc::sourceparts=- \
    -o Dir::State="$2" -o Dir::State::lists="$2/lists" -o Dir::State::status="$2/status" \
    -o Dir::Cache="$2/cache" -o APT::Architecture="$1" -o APT::Architectures::="$1" \
    -o APT::Sandbox::User= "${@:3}" >&2
}

#!/usr/bin/env bash
# Installs the packages of Debian 12 or Ubuntu 24.04 that ssmax needs, only those that are missing.
#
#   scripts/install_dependencies.sh [build] [plots] [check]      default: build plots
#   scripts/install_dependencies.sh unpack FOLDER
#
# build  compiler, CMake and libraries; the script fails when one cannot be had
# plots  a Python with matplotlib; only a warning when it cannot be had, as nothing but
#        scripts/plot.py needs it
# check  clang-format and clang-tidy, for scripts/check.sh
# unpack installs nothing: the libraries, and what they need beyond those of the compiler, go into a
#        folder that a machine without a network can take, for scripts/gpu_check.sh --packages
#
# Asks nothing, prints only what it installs, and needs no network when everything is there.
set -euo pipefail
cd "$(dirname "$0")/.."

libraries=(libdnnl-dev nlohmann-json3-dev libcli11-dev libspdlog-dev libxxhash-dev libpcre2-dev
           zlib1g-dev libzstd-dev libgtest-dev ocl-icd-opencl-dev)
build=(g++ cmake ninja-build git python3 "${libraries[@]}")
check=(clang-format clang-tidy)
# A build cache, and MPI for several processes: welcome, never required.
wanted=(ccache libopenmpi-dev openmpi-bin)

installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -q '^installed$'; }

as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    echo "install_dependencies: not root and no sudo; run as root: $*" >&2
    return 1
  fi
}

# Installs the packages given; the index is fetched anew only when the one at hand will not do.
apt_install() {
  local options=(-y -qq --no-install-recommends -o Acquire::Retries=1 -o Acquire::http::Timeout=20)
  echo "installing: $*"
  export DEBIAN_FRONTEND=noninteractive
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$@" \
      >/dev/null 2>&1 && return
  as_root apt-get update -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20 >/dev/null &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$@" >/dev/null
}

# Names of the packages that are not installed.
missing() {
  local package
  for package in "$@"; do installed "$package" || echo "$package"; done
}

require() {
  local packages
  mapfile -t packages < <(missing "$@")
  [[ ${#packages[@]} == 0 ]] && return
  if ! apt_install "${packages[@]}"; then
    echo "install_dependencies: could not install ${packages[*]}; is there a network, and is this" \
         "Debian 12 or Ubuntu 24.04?" >&2
    exit 1
  fi
}

plots() {
  scripts/find_python.sh matplotlib >/dev/null && return
  apt_install python3-matplotlib && scripts/find_python.sh matplotlib >/dev/null && return
  echo "installing: matplotlib into .venv"
  if { [[ -x .venv/bin/python ]] || python3 -m venv .venv; } >/dev/null 2>&1 &&
     .venv/bin/python -m pip install --quiet --disable-pip-version-check matplotlib >/dev/null 2>&1
  then
    return
  fi
  echo "install_dependencies: no Python with matplotlib could be had; curves will not be drawn" >&2
}

# Names of the packages given and of all that they depend on.
with_dependencies() {
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances "$@" | grep '^[a-z]' | sort -u
}

# Without what every compiler brings, and frameworks that only packages of other people's tests name.
unpack() {
  local folder packages archive link
  folder=$(realpath "$1")
  mapfile -t packages < <(comm -23 <(with_dependencies "${libraries[@]}") \
                                   <(with_dependencies libc6-dev libstdc++6 libgomp1 catch2 googletest))
  rm -rf "$folder"
  mkdir -p "$folder/archives"
  (cd "$folder/archives" && apt-get download -qq -o APT::Sandbox::User=root "${packages[@]}")
  for archive in "$folder"/archives/*.deb; do dpkg -x "$archive" "$folder"; done
  rm -rf "$folder/archives" "$folder"/usr/share/{doc,man}
  find "$folder" -type l -lname '/*' | while read -r link; do
    ln -sfnr "$folder$(readlink "$link")" "$link"
  done
  echo "unpacked into $folder: ${packages[*]}"
}

if ! command -v dpkg-query >/dev/null; then
  echo "install_dependencies: this is not Debian or Ubuntu; install what README.md lists" >&2
  exit 0
fi

if [[ ${1:-} == unpack ]]; then
  [[ $# == 2 ]] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
  unpack "$2"
  exit
fi
groups=("$@")
[[ ${#groups[@]} == 0 ]] && groups=(build plots)
for group in "${groups[@]}"; do
  case $group in
    build)
      require "${build[@]}"
      mapfile -t extra < <(missing "${wanted[@]}")
      if [[ ${#extra[@]} != 0 ]]; then apt_install "${extra[@]}" || true; fi
      ;;
    check) require "${check[@]}" ;;
    plots) plots ;;
    *)
      echo "install_dependencies: no group \`$group\`; there are build, plots, check and unpack" >&2
      exit 2
      ;;
  esac
done

#!/bin/bash
# From a bare Debian 12 to a running libewc: installs the packages that are missing, builds, and runs.
set -u
cd "$(dirname "$0")" || exit 1

usage() {
    cat << 'EOF'
Usage: ./bootstrap.sh COMMAND

  build    install what building needs; build the libraries and the driver
  check    the same, and build and run every test
  demo     the same as build, then run the demonstration (about two minutes on two cores)
  deps [build|check|demo|ci]
           only install the packages that the command (default: check) needs
  --help   this text

Missing Debian packages are named, then installed with apt-get, as root or through sudo. Where nothing is missing, neither
root nor network is needed (the demonstration fetches its texts from Debian packages, once). Running it twice does nothing twice.

Environment: BUILD=build (build directory), JOBS=number of compilations at a time, WERROR=1 (warnings are errors).
EOF
}

build_packages=(gcc g++ make pkg-config libopenblas-serial-dev libcjson-dev zlib1g-dev libsentencepiece-dev)
check_packages=("${build_packages[@]}" libcmocka-dev python3 sentencepiece)
demo_packages=("${build_packages[@]}" python3 sentencepiece ca-certificates)
ci_packages=("${check_packages[@]}" clang-format clang-tidy cppcheck valgrind git)

fail() {
    printf 'bootstrap.sh: %s\n' "$@" >&2
    exit 1
}

# Runs apt-get as root, through sudo where needed. DEBIAN_FRONTEND keeps packages from asking questions.
apt_get() {
    if [ "$(id -u)" -eq 0 ]; then
        DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 "$@" < /dev/null
    else
        # Without a terminal sudo could not ask for a password: let it fail at once.
        local ask=()
        [ -t 0 ] || ask=(-n)
        sudo "${ask[@]}" DEBIAN_FRONTEND=noninteractive apt-get -q -y \
            -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 "$@"
    fi
}

install_missing() { # packages
    local package missing=()
    if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
        echo "This is not a Debian system: nothing is installed. Needed, by their Debian names: $*"
        return
    fi
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "Installing Debian packages: ${missing[*]}"
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo > /dev/null; then
        fail "these packages are missing, and neither root nor sudo is there to install them." \
            "Remedy: as root, run: apt-get install --no-install-recommends ${missing[*]}"
    fi
    # Package lists are fetched only where they are absent or so old that a file of them is gone.
    apt-cache show "${missing[@]}" > /dev/null 2>&1 || apt_get update || fail "apt-get update failed (see above)"
    apt_get install --no-install-recommends "${missing[@]}" && return
    echo "Once more with fresh package lists"
    apt_get update && apt_get install --no-install-recommends "${missing[@]}" && return
    fail "apt-get could not install: ${missing[*]}" "Remedy: see the messages above; then run this command again."
}

run_make() {
    make --no-print-directory -j "${JOBS:-$(nproc)}" BUILD="${BUILD:-build}" WERROR="${WERROR:-0}" "$@"
}

case ${1:---help} in
    -h | --help | help)
        usage
        ;;
    deps)
        case ${2:-check} in
            build) install_missing "${build_packages[@]}" ;;
            check) install_missing "${check_packages[@]}" ;;
            demo) install_missing "${demo_packages[@]}" ;;
            ci) install_missing "${ci_packages[@]}" ;;
            *) usage >&2; fail "no such command to install for: $2" ;;
        esac
        ;;
    build)
        install_missing "${build_packages[@]}"
        run_make all
        ;;
    check)
        install_missing "${check_packages[@]}"
        run_make all tests || exit 1
        run_make check
        ;;
    demo)
        install_missing "${demo_packages[@]}"
        run_make all || exit 1
        run_make demo
        ;;
    *)
        usage >&2
        fail "no such command: $1"
        ;;
esac

#!/bin/bash
# bootstrap.sh installs what is missing, once, says what, and tells what to do where it cannot. Package tools are imitated:
# dpkg-query knows the packages listed in a file, apt-get adds to it and writes down how it was called.
set -u
. tests/build/tap.sh
fake=$TMPDIR/bin
mkdir "$fake"
export INSTALLED=$TMPDIR/installed CALLS=$TMPDIR/calls USER_ID=$TMPDIR/user

imitate() { # name, script
    printf '#!/bin/bash\n%s\n' "$2" > "$fake/$1"
    chmod +x "$fake/$1"
}
# dpkg-query -W -f=FORMAT PACKAGE
imitate dpkg-query 'grep -qx -- "$3" "$INSTALLED" && printf installed'
imitate apt-cache '[ -e "$INSTALLED.lists" ]'
imitate id 'cat "$USER_ID"'
imitate apt-get 'echo "apt-get $*" >> "$CALLS"
[ "$DEBIAN_FRONTEND" = noninteractive ] || exit 1
while [ $# -gt 0 ]; do
    case $1 in
        -o) shift ;;
        -*) ;;
        update) : > "$INSTALLED.lists" ;;
        install) ;;
        *) [ -e "$INSTALLED.broken" ] && exit 100; echo "$1" >> "$INSTALLED" ;;
    esac
    shift
done'
sudo_script='echo sudo >> "$CALLS"
while [ "${1#-}" != "$1" ]; do shift; done
exec env "$@"'
for tool in bash dirname grep printf cat env nproc; do ln -s "$(command -v $tool)" "$fake/$tool"; done

machine() { # user id, installed packages...
    echo "$1" > "$USER_ID"
    shift
    : > "$CALLS"
    rm -f "$INSTALLED.lists" "$INSTALLED.broken" "$fake/sudo"
    printf '%s\n' "$@" > "$INSTALLED"
}
bootstrap() { PATH=$fake ./bootstrap.sh "$@" < /dev/null; }
packages="gcc g++ make pkg-config libopenblas-serial-dev libcjson-dev zlib1g-dev libsentencepiece-dev libcmocka-dev python3 sentencepiece"

root_installs_what_is_missing() {
    machine 0 gcc make zlib1g-dev
    contains "$(bootstrap deps check 2>&1)" "Installing Debian packages: g++ pkg-config libopenblas-serial-dev" || return 1
    contains "$(cat "$CALLS")" "update" || return 1
    for package in $packages; do grep -qx -- "$package" "$INSTALLED" || { echo "not installed: $package"; return 1; }; done
    fails grep -q 'install.* gcc' "$CALLS"
}
nothing_is_done_twice() {
    : > "$CALLS"
    bootstrap deps check || return 1
    [ ! -s "$CALLS" ] || { cat "$CALLS"; return 1; }
}
known_lists_are_not_fetched() {
    machine 0
    : > "$INSTALLED.lists"
    bootstrap deps build || return 1
    fails grep -q ' update' "$CALLS"
}
sudo_is_used() {
    machine 1000
    imitate sudo "$sudo_script"
    bootstrap deps check || return 1
    contains "$(cat "$CALLS")" sudo && grep -qx libcmocka-dev "$INSTALLED"
}
neither_root_nor_sudo() {
    machine 1000 gcc
    local output
    output=$(bootstrap deps check 2>&1) && return 1
    contains "$output" "neither root nor sudo" && contains "$output" "apt-get install" && [ ! -s "$CALLS" ]
}
user_without_needs() {
    # shellcheck disable=SC2086
    machine 1000 $packages
    bootstrap deps check && [ ! -s "$CALLS" ]
}
failure_is_reported() {
    machine 0
    : > "$INSTALLED.broken"
    local output
    output=$(bootstrap deps build 2>&1) && return 1
    contains "$output" "could not install"
}
check_stops_when_packages_fail() {
    machine 0
    : > "$INSTALLED.broken"
    local output
    output=$(bootstrap check 2>&1) && return 1
    contains "$output" "could not install" && fails contains "$output" "  CC"
}
unknown_command() {
    local output
    output=$(./bootstrap.sh frobnicate 2>&1) && return 1
    contains "$output" "no such command: frobnicate"
}

expect "root: missing packages are named and installed" root_installs_what_is_missing
expect "root: a second run calls no package tool" nothing_is_done_twice
expect "package lists that are there are not fetched again" known_lists_are_not_fetched
expect "a user installs through sudo" sudo_is_used
expect "without root and sudo the remedy is named" neither_root_nor_sudo
expect "where nothing is missing a user needs neither" user_without_needs
expect "a failed installation is reported" failure_is_reported
expect "nothing is built when packages are missing" check_stops_when_packages_fail
expect "--help succeeds" ./bootstrap.sh --help
expect "an unknown command is named" unknown_command
finish

# Shared by tools/run, tools/test, .ci/run and packaging/build-deb: what they need, how they configure
# and build.
# Sourced by a POSIX shell that has set `root` to the top of the checkout.

# shellcheck shell=sh disable=SC2154

say() { printf '==> %s\n' "$*"; }
has() { command -v "$1" >/dev/null 2>&1; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# A path as it is best shown: relative to the checkout where that is possible.
short() { printf '%s' "${1#"$root"/}"; }

compiler() {
    for candidate in ${CXX:-c++ g++ clang++}; do
        if has "$candidate"; then
            printf '%s' "$candidate"
            return
        fi
    done
    return 1
}

has_doctest() {
    cxx=$(compiler) || return 1
    # shellcheck disable=SC2086  # several words: CXX may be `ccache g++`
    printf '#include <doctest/doctest.h>\n' | ${CXX:-$cxx} -x c++ -E - >/dev/null 2>&1 ||
        { has pkg-config && pkg-config --exists doctest; }
}

# What is needed, a line each: what for, the thing, Debian's package of it. `run` is for tools/run,
# `test` for tools/test besides, and `learn` for tools/learn besides; `help` makes it better, and
# `speed` faster. tools/learn doctor and .devcontainer/Containerfile have the names from here.
known_packages() {
    cat <<'END'
run compiler g++
run meson meson
run ninja ninja-build
run python3 python3
test pkg-config pkg-config
test doctest doctest-dev
learn git git
learn patch patch
help nc netcat-openbsd
help gdb gdb
speed linker lld
speed ccache ccache
END
}

package_of() { known_packages | sed -n "s/^[a-z]* $1 //p"; }

has_thing() {
    case $1 in
        compiler) compiler >/dev/null ;;
        doctest) has_doctest ;;
        *) has "$1" ;;
    esac
}

# Debian's names of the packages for what is missing here, to run (`run`) or to test (`test`).
missing_packages() {
    known_packages | while read -r purpose thing package; do
        case $1/$purpose in
            */run | test/test) has_thing "$thing" || echo "$package" ;;
        esac
    done
}

# install_packages NAME...: through apt-get, or a message that says what to install.
install_packages() {
    if ! has apt-get; then
        printf 'Please install these (Debian names) and start again:\n  %s\n' "$*" >&2
        exit 1
    fi
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        as_root=sudo
        if ! has sudo; then
            printf 'Please run as root and start again:\n  apt-get install %s\n' "$*" >&2
            exit 1
        fi
    fi
    say "Installing $*"
    log=$(mktemp)
    if ! {
        $as_root apt-get -q update &&
            $as_root env DEBIAN_FRONTEND=noninteractive \
                apt-get -q -y --no-install-recommends install "$@"
    } >"$log" 2>&1 </dev/null; then
        tail -n 30 "$log" >&2
        die "apt-get failed; all it said is in $log"
    fi
    rm -f "$log"
}

# The first thing each tool does: ensure_tools run|test.
ensure_tools() {
    if [ "$1" = test ]; then
        say 'Looking for a compiler, Meson, Ninja, Python, doctest and pkg-config'
    else
        say 'Looking for a compiler, Meson, Ninja and Python'
    fi
    # shellcheck disable=SC2046  # one word a package
    set -- $(missing_packages "$1")
    netcat=$(package_of nc)
    # netcat makes a good client to watch the server with, but nothing depends on it.
    if [ $# -gt 0 ]; then
        has nc || set -- "$@" "$netcat"
        install_packages "$@"
    elif ! has nc && has apt-get && [ "$(id -u)" -eq 0 ]; then
        (install_packages "$netcat") || say 'Going on without nc'
    fi
    found=$(meson --version) || die 'meson does not start'
    oldest=$(printf '%s\n1.0.1\n' "$found" | sort -V | head -n 1)
    if [ "$oldest" != 1.0.1 ]; then
        die "rung needs Meson 1.0.1 or newer, and this is $found. Debian 12 has a newer one;" \
            'elsewhere: python3 -m pip install --user meson'
    fi
}

# configure DIR ARGUMENT...: `meson setup`, once. Done again from nothing when the arguments, the
# compiler, the place of the checkout or the default options are not those of the last time.
configure() {
    dir=$1
    shift
    stamp=$dir/.configured
    wanted="$root CXX=${CXX:-} $* $(cksum <"$root/meson.build")"
    if [ -f "$dir/build.ninja" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    again=
    if [ -f "$stamp" ]; then
        rm -rf "$dir"
    elif [ -f "$dir/build.ninja" ]; then
        again=--reconfigure
    fi
    say "Configuring $(short "$dir"): meson setup $*"
    mkdir -p "$dir"
    # shellcheck disable=SC2086  # nothing or one word
    if ! meson setup $again "$@" "$dir" "$root" >"$dir/setup.log" 2>&1; then
        tail -n 30 "$dir/setup.log" >&2
        printf 'meson setup failed; all it said is in %s\n' "$dir/setup.log" >&2
        return 1
    fi
    printf '%s\n' "$wanted" >"$stamp"
}

# Reads what ninja prints. On a terminal the count of steps stands on one line; elsewhere a tenth of
# the way is a line.
show_steps() {
    shown=0
    while IFS= read -r line; do
        printf '%s\n' "$line"
        case $line in
            \[*/*\]*) ;;
            *) continue ;;
        esac
        steps=${line#\[}
        steps=${steps%%\]*}
        if [ -t 2 ]; then
            printf '\r    %s ' "$steps" >&2
            shown=1
        elif [ $((${steps%/*} * 10 / ${steps#*/})) -gt "$shown" ]; then
            shown=$((${steps%/*} * 10 / ${steps#*/}))
            printf '    %s\n' "$steps" >&2
        fi
    done
    if [ -t 2 ] && [ "$shown" = 1 ]; then
        printf '\r            \r' >&2
    fi
}

# compile DIR: ninja, with its output in DIR/build.log; shown when the build fails.
compile() {
    dir=$1
    say "Building $(short "$dir")"
    echo 1 >"$dir/build.status"
    { ninja -C "$dir" 2>&1 && echo 0 >"$dir/build.status"; } | show_steps >"$dir/build.log"
    if [ "$(cat "$dir/build.status")" != 0 ]; then
        # Each failed step up to the next one; where no step failed, ninja has said why at the end.
        if grep -q '^FAILED: ' "$dir/build.log"; then
            sed -n '/^FAILED: /,/^\[/p' "$dir/build.log" | grep -v '^\[' | head -n 80 >&2
        else
            tail -n 20 "$dir/build.log" >&2
        fi
        printf 'the build failed; all it said is in %s\n' "$dir/build.log" >&2
        return 1
    fi
}

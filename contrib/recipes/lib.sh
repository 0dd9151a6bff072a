# SPDX-License-Identifier: GPL-3.0-or-later
# Sourced by each recipe's try: who plays, what they type, and the end of it all. What is typed stands in the recipe's
# README.md and nowhere else: `play` reads it there. See README.md here for the form.
#
#   needs PACKAGE...           Debian packages, installed by apt-get if dpkg does not know them
#   people                     publisher, mirror1 and mirror2, each with a home, GnuPG and daemon of their own, and the
#                              web server of the publisher's ~/public_html; sets KEY and URL; try sets SOURCE
#   play SECTION [WHO]         type what that section of README.md has, all or what WHO types; mirror$ is typed at both
#   own WHO COMMAND            what a person does anyway, and no part of the recipe: an edit, a mail
#   arrives WHO WHAT COMMAND   wait until COMMAND succeeds for WHO; prints the seconds since the last thing that was done
#   check WHAT COMMAND         COMMAND, in this shell, must succeed
#   as WHO COMMAND             COMMAND for WHO, unseen; `output WHO COMMAND` shows what it prints
#   serve WHO                  a web server of WHO's ~/public_html, too; `address WHO` says where
#   shot NAME WHO PATH         a picture of that page into $GTFS_RECIPES_SHOTS, if that is set
#   bad_days WHO REPO [ITS]    what goes wrong at some time, if that is wanted: see bad-days.sh
#   finish                     every repository must be sound; tells how many commands were typed
set -eu
recipe=$(cd "$(dirname "$0")" && pwd)
recipes=$(dirname "$recipe")
title=$(basename "$recipe")
wait_s=${GTFS_RECIPES_WAIT:-300}

# -- programs ----------------------------------------------------------------------------------------------------------

# In a checkout gtfs is a wheel of it in a venv; elsewhere what is installed. GTFS_BIN is another one's directory.
root=$(dirname "$(dirname "$recipes")")
units=/usr/lib/systemd/user
if [ -r "$root/contrib/install" ]; then
    . "$root/contrib/install"
    units=$root/contrib/systemd/user
fi

step() { printf '\n== %s\n' "$*"; }
say() { printf '   %s\n' "$*"; }
stop() { why=$*; printf 'try: %s\n' "$*" >&2; exit 1; }

needs() {
    if command -v install_packages >/dev/null; then
        install_packages python3 util-linux git gpg gpgv gpg-agent "$@"
    else
        for wanted in "$@"; do
            dpkg-query -W -f '${Status}' "$wanted" 2>/dev/null | grep -q 'ok installed' ||
                stop "$wanted is missing: apt-get install $*"
        done
    fi
    if [ -n "${GTFS_BIN:-}" ]; then
        path=$GTFS_BIN:$PATH
    elif command -v install_wheel >/dev/null; then
        install_packages fuse3 libfuse3-dev pkg-config gcc libc6-dev zlib1g-dev python3-dev python3-venv
        install_wheel
        path=$venv/bin:$PATH
    else
        path=$PATH
    fi
    begin
}

# -- beginning and end -------------------------------------------------------------------------------------------------

begin() {
    work=$(mktemp -d "/tmp/gtfs-$title.XXXXXX")
    chmod 755 "$work"
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    mkdir "$work/bin"
    # Where systemd is not the first process, a stand-in runs what a unit says.
    ln -s "$recipes/systemctl" "$work/bin/systemctl"
    path=$work/bin:$path
    : >"$work/typed"
    ports=$(free_ports 12)
    next_port
    publisher_port=$port
}

cleanup() {
    status=$?
    trap - EXIT
    trap '' INT TERM HUP
    set +e
    if [ "$status" -ne 0 ] && [ "$status" -lt 129 ]; then
        for log in "$work"/*/.run/*.log; do
            [ ! -s "$log" ] || { echo "--- $log" >&2; tail -n 40 "$log" >&2; }
        done
        printf 'try: %s FAILED with %s: %s\n' "$title" "$status" "${why:-a command of its own}" >&2
    fi
    pids=$(cat "$work"/*/.run/*.pid 2>/dev/null || true)
    end_processes
    for home in "$work"/*/.gnupg; do
        [ ! -d "$home" ] || gpgconf --homedir "$home" --kill all 2>/dev/null || true
    done
    # A recipe's own: mounts, users.
    ! command -v at_end >/dev/null || at_end || true
    awk -v work="$work/" 'index($5, work) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r place; do
        umount "$place" 2>/dev/null || umount -l "$place" 2>/dev/null || fusermount3 -uz "$place" || true
    done
    rm -rf --one-file-system "$work"
    exit "$status"
}

# Those of $pids, asked first.
end_processes() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    for turn in $(seq 400); do
        alive=
        for pid in $pids; do
            case $(cut -d ' ' -f 3 "/proc/$pid/stat" 2>/dev/null) in '' | Z) ;; *) alive="$alive $pid" ;; esac
        done
        [ -n "$alive" ] || return 0
        [ "$turn" -ne 390 ] || kill -9 $alive 2>/dev/null || true
        sleep 0.05
    done
}

# -- people ------------------------------------------------------------------------------------------------------------

# free_ports N: below those that the kernel gives away by itself.
free_ports() {
    python3 - "$1" <<'END'
import random, socket, sys

found, kept = [], []
while len(found) < int(sys.argv[1]):
    port = random.randrange(20000, 32000)
    try:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            kept.append(socket.socket(type=kind))
            kept[-1].bind(("127.0.0.1", port))
    except OSError:
        continue
    found.append(port)
print(*found)
END
}

people() {
    mirrors
    publisher publisher
}

mirrors() {
    step "On this machine, over loopback: a publisher and two mirrors, each with a home and a daemon of their own"
    say "in $work, which goes at the end. (gtfs has systemd run a daemon; a stand-in does it here.)"
    for who in mirror1 mirror2; do
        next_port
        eval "${who}_port=\$port"
        person $who "listen=127.0.0.1:$port,peer=127.0.0.1:$publisher_port"
        daemon $who
    done
}

publisher() {
    person "$1" "listen=127.0.0.1:$publisher_port"
    serve "$1"
    daemon "$1"
    URL=$(address "$1")
    as "$1" "gpg --quiet --batch --pinentry-mode loopback --passphrase '${passphrase:-}' \
        --quick-gen-key 'Publisher <publisher@example.org>' ed25519 sign never 2>/dev/null"
    KEY=$(as "$1" 'gpg --with-colons --list-keys' 2>/dev/null | awk -F: '/^fpr/ { print $10; exit }')
    for who in mirror1 mirror2; do as "$1" "gpg --export $KEY" >"$work/$who/publisher.gpg"; done
    say "KEY=$KEY"
    say "URL=$URL"
}

next_port() {
    port=${ports%% *}
    ports=${ports#* }
}

# person WHO OPTIONS: a home, and what the machine's owner said for all repositories in gtfs.conf(5): nothing goes out.
person() {
    next_port
    mkdir -p "$work/$1/.config/gtfs" "$work/$1/.run/gtfs" "$work/$1/.local/share/gtfs" "$work/$1/public_html"
    chmod 700 "$work/$1/.run" "$work/$1/.local/share/gtfs"
    mkdir -m 700 "$work/$1/.gnupg"
    echo "$port" >"$work/$1/.run/web.port"
    printf '[defaults]\n\toptions = nodht,nolsd,%s\n' "$2" >"$work/$1/.config/gtfs/gtfs.conf"
    settings "$1"
    [ -z "${uids:-}" ] || ! id -u "$1" >/dev/null 2>&1 || chown -R "$1:" "$work/$1"
}

# gtfs mirror and gtfs init --seed have systemd run it; where there is none, the stand-in does so first.
daemon() {
    as "$1" 'systemctl --user enable --now gtfs-seed'
}

settings() {
    printf '[user]\n\tname = %s\n\temail = %s@example.org\n[init]\n\tdefaultBranch = main\n' "$1" "$1" >"$work/$1/.gitconfig"
}

address() { echo "http://127.0.0.1:$(cat "$work/$1/.run/web.port")"; }

serve() {
    # shellcheck disable=SC2016  # it is expanded by WHO's shell
    as "$1" 'setsid python3 -m http.server --bind 127.0.0.1 --directory public_html "$(cat .run/web.port)" >.run/web.log 2>&1 &
        echo $! >.run/web.pid'
    until python3 -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1])' "$(address "$1")" 2>/dev/null; do
        [ -e "/proc/$(cat "$work/$1/.run/web.pid")" ] || stop "no web server for $1"
        sleep 0.05
    done
}

# -- several users of the machine --------------------------------------------------------------------------------------

# apart: in a mount namespace of its own, in which users may be made. It is root's.
apart() {
    [ "$(id -u)" -eq 0 ] || stop "$title makes users, in a namespace of its own: it is root's to run"
    [ -n "${GTFS_RECIPES_APART:-}" ] || exec env GTFS_RECIPES_APART=1 unshare --mount --propagation private sh "$0"
    uids=yes
}

# own_users: /etc becomes a copy, /srv an empty directory, and /home the one where people's homes are.
own_users() {
    mkdir "$work/.etc"
    mount -t tmpfs -o mode=755 tmpfs "$work/.etc"
    cp -a /etc/. "$work/.etc"
    mount --bind "$work/.etc" /etc
    mount -t tmpfs -o mode=755 tmpfs /srv
    mount --bind "$work" /home
    let_others_read
}

# gtfs, its Python and these files may lie where root alone can look: they are put over what hides them.
let_others_read() {
    bin=$(dirname "$(PATH=$path command -v gtfs)")
    python=$bin/python
    [ -x "$python" ] || python=python3
    "$python" -c 'import os, sys
all = (*sys.path[1:], sys.prefix, sys.base_prefix, os.path.dirname(os.path.realpath(sys.executable)))
print(*sorted({os.path.realpath(p) for p in all if os.path.isdir(p)}), sep="\n")' >"$work/.needed"
    printf '%s\n' "$root" >>"$work/.needed"
    : >"$work/.hidden"
    number=0
    while read -r place; do
        top=
        above=$place
        while [ "$above" != / ]; do
            above=$(dirname "$above")
            case $(stat -c %a "$above") in *[1357]) ;; *) top=$above ;; esac
        done
        [ -n "$top" ] || continue
        number=$((number + 1))
        mkdir -p "$work/.stage/$number"
        mount --bind "$place" "$work/.stage/$number"
        printf '%s\t%s\t%s\n' "$number" "$top" "$place" >>"$work/.hidden"
    done <"$work/.needed"
    cut -f 2 "$work/.hidden" | sort -u | while read -r top; do mount -t tmpfs -o mode=755 tmpfs "$top"; done
    while read -r number top place; do
        mkdir -p "$place"
        mount --bind "$work/.stage/$number" "$place"
    done <"$work/.hidden"
}

# As a login has it: nothing of whoever runs this. The directories are so that root's daemon is not the machine's.
as() {
    become=
    system=GIT_CONFIG_NOSYSTEM=1
    if [ -n "${uids:-}" ]; then
        system=
        ! id -u "$1" >/dev/null 2>&1 || become="setpriv --reuid=$1 --regid=$1 --init-groups"
    fi
    # shellcheck disable=SC2086  # words, or none
    env -i PATH="$path" HOME="$work/$1" USER="$1" LOGNAME="$1" SHELL=/bin/sh LC_ALL=C.UTF-8 $system \
        XDG_RUNTIME_DIR="$work/$1/.run" RUNTIME_DIRECTORY="$work/$1/.run/gtfs" UNITS="$units" \
        CONFIGURATION_DIRECTORY="$work/$1/.config/gtfs" STATE_DIRECTORY="$work/$1/.local/share/gtfs" \
        KEY="${KEY:-}" URL="${URL:-}" SOURCE="${SOURCE:-}" RECIPE="$recipe" \
        FRIEND="${FRIEND:-}" FORK="${FORK:-}" HERE="${HERE:-}" \
        $become sh -ec "cd; $2" 3<&- </dev/null
}

now() { date +%s%N; }
since=$(now)

typed() {
    sign='$'
    [ "$1" != root ] || sign='#'
    printf '%s%s %s\n' "$1" "$sign" "$2"
    as "$1" "$2" || stop "that ended with $?"
    since=$(now)
}

# section NAME: its commands, "WHO COMMAND" a line; a backslash at the end of a line goes on.
section() {
    awk -v wanted="## $1" '
        /^## / { here = ($0 == wanted); next }
        /^```/ { fenced = !fenced; next }
        !here || !fenced { next }
        more { line = line $0 } !more { line = $0 }
        { more = sub(/\\$/, "", line) }
        !more && match(line, /^[a-z0-9]+[$#] /) { print substr(line, 1, RLENGTH - 2) " " substr(line, RLENGTH + 1) }
    ' "$recipe/README.md"
}

play() {
    [ $# -eq 2 ] || step "$1"
    section "$1" >"$work/section"
    [ -s "$work/section" ] || stop "README.md has nothing to type in its section $1"
    while read -r who command <&3; do
        case ${2:-$who} in "$who") ;; *) continue ;; esac
        printf '%s\t%s\n' "$1" "$who" >>"$work/typed"
        case $who in
        mirror) typed mirror1 "$command"; typed mirror2 "$command" ;;
        *) typed "$who" "$command" ;;
        esac
    done 3<"$work/section"
}

own() {
    say "($1 does: $2)"
    as "$1" "$2" || stop "that ended with $?"
    since=$(now)
}

output() { as "$1" "$2" | sed 's/^/     /'; }

# -- what comes of it --------------------------------------------------------------------------------------------------

arrives() {
    until as "$1" "$3" >/dev/null 2>&1; do
        [ $((($(now) - since) / 1000000000)) -lt "$wait_s" ] || stop "$1 does not have $2"
        sleep 0.02
    done
    say "$1 has $2 after $(awk -v ns=$(($(now) - since)) 'BEGIN { printf "%.2f", ns / 1e9 }') s"
}

check() {
    what=$1
    shift
    "$@" || stop "not so: $what"
    say "so it is: $what"
}

shot() {
    [ -n "${GTFS_RECIPES_SHOTS:-}" ] || return 0
    mkdir -p "$GTFS_RECIPES_SHOTS"
    chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --window-size=1000,420 \
        --user-data-dir="$work/chromium" --screenshot="$GTFS_RECIPES_SHOTS/$1.png" "$(address "$2")/$3" >"$work/chromium.log" 2>&1 ||
        { cat "$work/chromium.log" >&2; stop "chromium makes no picture"; }
    say "a picture of it: $GTFS_RECIPES_SHOTS/$1.png"
}

. "$recipes/bad-days.sh"

finish() {
    step "Daemons end, and every repository is sound"
    for file in "$work"/*/.run/gtfs-seed.pid; do
        who=$(basename "$(dirname "$(dirname "$file")")")
        as "$who" 'systemctl --user stop gtfs-seed'
    done
    for file in $(find "$work"/* -path '*/gtfs/node.db'); do
        repository=$(dirname "$(dirname "$file")")
        who=${repository#"$work/"}
        as "${who%%/*}" "gtfs fsck '$repository'" | sed 's/^/   /'
    done
    step "Commands typed, of which README.md has $(sort -u "$work/typed" | wc -l) groups"
    sort "$work/typed" | uniq -c | while read -r count what; do printf '   %3d  %s\n' "$count" "$what"; done
    printf '\n%s: all of it works\n' "$title"
}

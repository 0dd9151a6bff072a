# SPDX-License-Identifier: GPL-3.0-or-later
# Sourced by lib.sh: what goes wrong at some time wherever a recipe is in use. Each day is played with the recipe's own
# repository, as it was set up, on a branch of the days' own. lib.sh's functions do it.
#
#   bad_days WHO REPO [ITS]    play the days in $GTFS_RECIPES_BAD_DAYS, none if it is not set: WHO publishes REPO, which
#                              the mirrors have as ITS
both="mirror1 mirror2"

bad_days() {
    [ -n "${GTFS_RECIPES_BAD_DAYS:-}" ] || return 0
    of=$1
    at=$2
    its=${3:-$2}
    as "$of" "git init --quiet -b trial .trial && cd .trial && git remote add origin '$(as "$of" "cd '$at' && pwd")'"
    as "$of" "gtfs init '$at' --publish-quiet 0.2 --publish-most 1" >/dev/null  # each push at once
    change First
    everywhere
    for day in $GTFS_RECIPES_BAD_DAYS; do
        step "A bad day: $day"
        "day_$day"
    done
    check "nothing is outstanding at the end" as "$of" "gtfs status --json '$at' | grep -q '\"outstanding\": null'"
}

# change TEXT: a commit, pushed. Where a tag publishes, somebody types it.
change() {
    own "$of" "cd .trial && echo '$1' >>file && git add file && git commit --quiet -m '$1' && git push --quiet origin trial"
    by_hand
}

by_hand() {
    ! as "$of" "git config --file '$at/gtfs/config' gtfs.publish" | grep -qx tags || own "$of" "gtfs publish '$at'"
}

tip_of() { as "$of" "git -C '$at' rev-parse --verify --quiet $1"; }

# at_tip WHO...: they have the branch as the publisher has it.
at_tip() {
    tip=$(tip_of trial)
    for who; do arrives "$who" "the branch" "test \$(git -C '$its' rev-parse --verify --quiet trial) = $tip"; done
}

everywhere() {
    # shellcheck disable=SC2086  # words
    at_tip $both
}

stands() { check "$1 stands where it stood" test "$(as "$1" "git -C '$its' rev-parse trial")" = "$tip"; }

day_publisher_away() {
    as "$of" 'systemctl --user stop gtfs-seed'
    own "$of" "cd .trial && echo away >>file && git commit --quiet -am Away && git push --quiet origin trial"
    for who in $both; do stands "$who"; done
    as "$of" 'systemctl --user start gtfs-seed'
    by_hand
    everywhere
}

day_mirror_off() {
    as mirror2 'systemctl --user stop gtfs-seed'
    for number in 1 2 3; do
        change "While it is off, $number"
        at_tip mirror1
    done
    as mirror2 'systemctl --user start gtfs-seed'
    since=$(now)
    at_tip mirror2
}

day_hook_fails() {
    hook=$its/hooks/post-receive
    as mirror1 "! test -e '$hook' || mv '$hook' .hook; printf '#!/bin/sh\nexit 7\n' >'$hook' && chmod +x '$hook'"
    change "A hook fails"
    everywhere
    arrives mirror1 "the failure in its status" "gtfs status --json '$its' | grep -q '\"times\"'"
    as mirror1 "rm '$hook'; ! test -e .hook || mv .hook '$hook'"
    change "The hook is mended"
    everywhere
    arrives mirror1 "no failure any more" "gtfs status --json '$its' | grep -q '\"failed\": \[\]'"
}

day_forced() {
    own "$of" "cd .trial && git tag --force before && git commit --quiet --amend -m 'Another' && git push --quiet --force origin trial"
    by_hand
    if as "$of" "git config --file '$at/gtfs/config' --get-all gtfs.policy" | grep -q non-fast-forward; then
        everywhere
        return
    fi
    for who in $both; do
        arrives "$who" "the news that a branch went back" "gtfs status '$its' | grep 'held back.*refs/heads/trial'"
        stands "$who"
    done
    own "$of" "cd .trial && git merge --quiet -s ours -m 'Both' before && git push --quiet origin trial"
    by_hand
    everywhere
}

day_renamed() {
    own "$of" "cd .trial && git push --quiet origin trial:renamed :trial"
    by_hand
    tip=$(tip_of renamed)
    for who in $both; do
        arrives "$who" "the branch by its new name" "test \$(git -C '$its' rev-parse --verify --quiet renamed) = $tip"
        arrives "$who" "none of the old one" "! git -C '$its' rev-parse --verify --quiet trial"
    done
    own "$of" "cd .trial && git push --quiet origin trial :renamed"
    by_hand
    everywhere
}

day_two_write() {
    as "$of" 'git clone --quiet .trial .trial2 && git -C .trial2 remote set-url origin "$(git -C .trial remote get-url origin)"'
    for which in .trial .trial2; do
        (as "$of" "cd $which && echo $which >$which && git add $which && git commit --quiet -m 'By $which'
            until git push --quiet origin trial 2>/dev/null; do git pull --quiet --rebase origin trial; done") &
        eval "writer$(echo $which | tr -dc 0-9)=\$!"
    done
    wait "$writer" "$writer2"
    since=$(now)
    by_hand
    everywhere
    check "what both wrote is in it" as mirror2 "git -C '$its' cat-file -e trial:.trial && git -C '$its' cat-file -e trial:.trial2"
    as "$of" 'git -C .trial pull --quiet --rebase origin trial && rm -rf .trial2'
}

# mirror1's repository is on a disk of its own, which something else fills. To mount one is root's.
day_disk_full() {
    [ "$(id -u)" -eq 0 ] || stop "disk_full mounts a small disk: it is root's to play"
    place=$work/mirror1/$its
    as mirror1 'systemctl --user stop gtfs-seed'
    mv "$place" "$work/.moved"
    mkdir "$place"
    mount -t tmpfs -o "size=$(($(du -sk "$work/.moved" | cut -f 1) + 24576))k" tmpfs "$place"
    cp -a "$work/.moved/." "$place"
    rm -r "$work/.moved"
    as mirror1 'systemctl --user start gtfs-seed'
    head -c "$(($(df --output=avail -k "$place" | tail -n 1) - 200))K" /dev/zero >"$place/filler"
    own "$of" "cd .trial && head -c 2000000 /dev/urandom >large && git add large && git commit --quiet -m Large && git push --quiet origin trial"
    by_hand
    at_tip mirror2
    arrives mirror1 "the full disk in its status" "gtfs status --check '$its' | grep 'No space left'"
    rm "$place/filler"
    own mirror1 "gtfs sync '$its' >.sync.log 2>&1"
    at_tip mirror1
}

# The machine was started, and nobody has unlocked the key since.
day_key_locked() {
    as "$of" 'mv .gnupg/private-keys-v1.d .keys && gpgconf --kill gpg-agent'
    own "$of" "cd .trial && echo locked >>file && git commit --quiet -am Locked && git push --quiet origin trial"
    arrives "$of" "what could not be signed, in its status" "gtfs status --json '$at' | grep -q '\"tries\"'"
    for who in $both; do stands "$who"; done
    as "$of" 'gpgconf --kill gpg-agent; rm -rf .gnupg/private-keys-v1.d && mv .keys .gnupg/private-keys-v1.d'
    change "Unlocked"
    everywhere
}

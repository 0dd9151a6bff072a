# SPDX-License-Identifier: GPL-3.0-or-later
# Completion of gtfs for bash, as click writes it (_GTFS_COMPLETE=bash_source gtfs): source it, or put it into
# ~/.local/share/bash-completion/completions/gtfs
_gtfs_completion() {
    local IFS=$'\n'
    local response

    response=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _GTFS_COMPLETE=bash_complete $1)

    for completion in $response; do
        IFS=',' read type value <<< "$completion"

        if [[ $type == 'dir' ]]; then
            COMPREPLY=()
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            COMPREPLY=()
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            COMPREPLY+=($value)
        fi
    done

    return 0
}

_gtfs_completion_setup() {
    complete -o nosort -F _gtfs_completion gtfs
}

_gtfs_completion_setup;

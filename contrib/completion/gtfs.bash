# SPDX-License-Identifier: GPL-3.0-or-later
# Written by contrib/completion/generate from the commands themselves; its answer to a Tab starts no gtfs.
# Completion of gtfs for bash 4.4: source it, or put it into ~/.local/share/bash-completion/completions/gtfs
declare -gA _gtfs_options=(
    ["gtfs"]="-h --help --version -V -v --verbose"
    ["collection"]="-h --help"
    ["collection follow"]="-h --help --name=<> --keyring=<repo> --signer=<> --manifest --feed=<> --include=<> --exclude=<> --directory=<dir> --gone=keep|move|delete --config=<file> -o=<options> --json --dry-run"
    ["collection init"]="-h --help --name=<> --sign-key=<> --gnupg-home=<file> --signer=<> --threshold=<> --url=<> --feed=<> --include=<> --exclude=<> --valid-days=<> --out=<file> --json --dry-run"
    ["collection list"]="-h --help --json"
    ["collection prune"]="-h --help --json --dry-run"
    ["collection publish"]="-h --help --force --repositories --json --dry-run"
    ["collection rewind"]="-h --help --json --dry-run"
    ["fsck"]="-h --help --due --rebuild --against=<repo> --dry-run --json"
    ["inbox"]="-h --help --add=<> --remove=<> --fetch --merge=<> -o=<options> --json"
    ["init"]="-h --help --name=<> --sign-key=<> --signer=<> --threshold=<> --freshness-key=<> --gnupg-home=<file> --attest --tracker=<> --web-seed=<> --push-url=<> --policy=<> --valid-days=<> --refs=<> --hide=<> --limit=<> --accept-fault=<> --accept-faults=<file> --publish=auto|tags|manual --publish-quiet=<> --publish-most=<> --announce=<repo> --no-announce --announce-mail=<> --sendmail=<file> --feed-dir=<file> --collection --url=<> --hook --no-hook --signing-subkey --seed --dry-run --json"
    ["keys"]="-h --help --sign-off --json"
    ["mirror"]="-h --help --name=<> --keyring=<repo> --signer=<> --push-url=<> --worktree=<> --config=<file> --no-enable -o=<options> --dry-run --json"
    ["mount"]="-h --help -o=<options> -f --foreground"
    ["offer"]="-h --help --to=<> --from=<repo> --sign-key=<> --gnupg-home=<file> --list --withdraw=<> --json"
    ["pack"]="-h --help --all -o=<file> --output=<file> --jobs=<> --json"
    ["publish"]="-h --help --force --prune --jobs=<> -v --verbose --dry-run --pushed --propose --complete --feed-dir=<file> --json"
    ["refresh"]="-h --help --valid-days=<> --key=<> --json"
    ["rewind"]="-h --help --withdrawn --dry-run --json"
    ["seed"]="-h --help --config=<file> -o=<options>"
    ["seed add"]="-h --help --name=<> --json -o=<options>"
    ["seed list"]="-h --help --json"
    ["seed remove"]="-h --help --json"
    ["sign"]="-h --help --key=<> --gnupg-home=<file> --yes --dry-run --json"
    ["status"]="-h --help --json --check --prometheus --max-lag=<> --max-silence=<> --max-age=<>"
    ["sync"]="-h --help --into=<file> -o=<options> --dry-run --json"
    ["torrent"]="-h --help --out=<file> --packs --tracker=<> --json"
    ["trust"]="-h --help"
    ["trust add"]="-h --help --only=<> --dry-run --json"
    ["trust check"]="-h --help --json"
    ["trust follow"]="-h --help --ref=<> --stop --dry-run --json"
    ["trust list"]="-h --help --json"
    ["trust propose"]="-h --help --accept=<> --all --gnupg-home=<file> --dry-run --json"
    ["trust remove"]="-h --help --force --dry-run --json"
    ["umount"]="-h --help -l --lazy --no-wait"
    ["verify"]="-h --help --json"
)
declare -gA _gtfs_places=(
    ["gtfs"]=""
    ["collection"]=""
    ["collection follow"]="<repo>"
    ["collection init"]="<dir>"
    ["collection list"]="<collection>"
    ["collection prune"]="<collection> <>*"
    ["collection publish"]="<dir>"
    ["collection rewind"]="<collection> <>"
    ["fsck"]="<repo>*"
    ["inbox"]="<repo>"
    ["init"]="<repo>"
    ["keys"]="<repo>"
    ["mirror"]="<repo> <dir>"
    ["mount"]="<repo> <dir>"
    ["offer"]="<repo> <>"
    ["pack"]="<repo> <>"
    ["publish"]="<repo> <file>*"
    ["refresh"]="<repo>"
    ["rewind"]="<repo> <>"
    ["seed"]="<repo>*"
    ["seed add"]="<repo>"
    ["seed list"]=""
    ["seed remove"]="<>"
    ["sign"]="<file>"
    ["status"]="<repo>*"
    ["sync"]="<repo>"
    ["torrent"]="<repo>"
    ["trust"]="<repo>"
    ["trust add"]="<file>*"
    ["trust check"]=""
    ["trust follow"]="<repo> <>*"
    ["trust list"]=""
    ["trust propose"]=""
    ["trust remove"]="<>*"
    ["umount"]="<dir>"
    ["verify"]="<repo> <>*"
)
declare -gA _gtfs_verbs=(
    ["gtfs"]="collection fsck inbox init keys mirror mount offer pack publish refresh rewind seed sign status sync torrent trust umount verify"
    ["collection"]="follow init list prune publish rewind"
    ["seed"]="add list remove"
    ["trust"]="add check follow list propose remove"
)
_gtfs_words="allow_other attester=<> cache_size=<> connections=<> default_permissions dht_node=<> download_rate=<> encryption=required|enabled|disabled feed=<> gid=<> gnupghome=<file> hooks=<file> inbox=<> incoming_limit=<> interface=<interface> jobs=<> keyring=<file> limit_component_bytes=<> limit_delta_bytes=<> limit_delta_depth=<> limit_delta_object_bytes=<> limit_expanded_bytes=<> limit_expansion=<> limit_object_bytes=<> limit_objects=<> limit_quarantine_bytes=<> limit_structure_bytes=<> limit_tree_depth=<> listen=<> logfile=<file> max_age=<> max_lag=<> max_silence=<> meet=<> nobell nodht nolsd nopex offline peer=<> poll=<> port=<> port_mapping prefetch proxy=<> read_ahead=<> read_timeout=<> repo=<file> ro rw signer=<> status=<> status_user=<> table_timeout=<> threshold=<> tracker=<> uid=<> upload_rate=<> utp"

# A value is words with bars between them, or what they are: <repo>, <collection>, <dir>, <file>, <options>, <interface>,
# <> for any text.
_gtfs_value() {
    case $1 in
    '<repo>') _gtfs_repositories ;;
    '<collection>') _gtfs_collections ;;
    '<dir>') _gtfs_directories ;;
    '<file>') compopt -o filenames 2>/dev/null; mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur") ;;
    '<options>') _gtfs_option ;;
    '<interface>') _gtfs_from "$(cd /sys/class/net 2>/dev/null && echo *)" ;;
    '<>') ;;
    *) _gtfs_from "${1//|/ }" ;;
    esac
}

# Those of the words $1 that begin as what is typed.
_gtfs_from() { mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$1" -- "$cur"); }

# Of -o: the word after the last comma, and after its =.
_gtfs_option() {
    local before= word list= value=
    [[ $cur != *,* ]] || before=${cur%,*},
    cur=${cur##*,}
    if [[ $cur == *=* ]]; then
        before+=${cur%%=*}=
        for word in $_gtfs_words; do [[ ${word%%=*} != "${cur%%=*}" || $word != *=* ]] || value=${word#*=}; done
        cur=${cur#*=}
        [[ -z $value ]] || _gtfs_value "$value"
        [[ $value == '<file>' ]] || compopt +o filenames 2>/dev/null
    else
        for word in $_gtfs_words; do
            if [[ $word == *=* ]]; then word=${word%%=*}=; fi
            list+="$word "
        done
        _gtfs_from "$list"
        compopt -o nospace 2>/dev/null
    fi
    COMPREPLY=("${COMPREPLY[@]/#/$before}")
}

# Mounts, and directories.
_gtfs_directories() {
    local path kind rest
    compopt -o filenames 2>/dev/null
    while read -r _ path kind rest; do
        if [[ $kind == fuse.gtfs ]]; then
            printf -v path '%b' "$path"
            [[ $path != "$cur"* ]] || COMPREPLY+=("$path")
        fi
    done </proc/self/mounts
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$cur")
}

# The same, the mirrors that gtfs keeps for this user and for the system, and catalogues.
_gtfs_repositories() {
    local path
    _gtfs_directories
    for path in "${XDG_DATA_HOME:-$HOME/.local/share}"/gtfs/*.git /var/lib/gtfs/*.git; do
        [[ ! -d $path || $path != "$cur"* ]] || COMPREPLY+=("$path")
    done
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -X '!*.@(asc|catalogue)' -- "$cur")
}

# Those that this user's daemon follows, or the system's, and directories.
_gtfs_collections() {
    local path
    for path in "${XDG_DATA_HOME:-$HOME/.local/share}"/gtfs/collections/*/ /var/lib/gtfs/collections/*/; do
        path=${path%/}
        [[ ! -d $path || ${path##*/} != "$cur"* ]] || COMPREPLY+=("${path##*/}")
    done
    _gtfs_directories
}

_gtfs() {
    local line=${COMP_LINE:0:COMP_POINT} given at=gtfs cur= word option= place=0 n
    # In words as the shell has them, and not broken at = and : as readline has them.
    read -ra given <<<"$line"
    if [[ $line != *[[:space:]] ]]; then
        n=$((${#given[@]} - 1))
        cur=${given[n]}
        unset "given[n]"
    fi
    local typed=$cur
    COMPREPLY=()
    for word in "${given[@]:1}"; do
        if [[ -n $option ]]; then
            option=
        elif [[ $word == -?* ]]; then
            for n in ${_gtfs_options[$at]}; do [[ $n != "$word="* ]] || option=${n#*=}; done
        elif [[ " ${_gtfs_verbs[$at]-} " == *" $word "* ]]; then
            at="$at $word" at=${at#gtfs } place=0
        else
            place=$((place + 1))
        fi
    done
    if [[ -n $option ]]; then
        _gtfs_value "$option"
    elif [[ $cur == --*=* ]]; then
        for n in ${_gtfs_options[$at]}; do [[ $n != "${cur%%=*}="* ]] || option=${n#*=}; done
        cur=${cur#*=}
        [[ -z $option ]] || _gtfs_value "$option"
    elif [[ $cur == -* ]]; then
        word=
        for n in ${_gtfs_options[$at]}; do word+="${n%%=*} "; done
        _gtfs_from "$word"
    else
        local places=(${_gtfs_places[$at]})
        ((place < ${#places[@]} || ${#places[@]} == 0)) || place=$((${#places[@]} - 1))
        word=${places[place]-}
        [[ -z ${_gtfs_verbs[$at]-} ]] || _gtfs_from "${_gtfs_verbs[$at]}"
        [[ -z $word ]] || _gtfs_value "${word%\*}"
        # mount(8)'s way: SOURCE DIRECTORY -o OPTIONS
        [[ $at != gtfs || -z $cur || ${#COMPREPLY[@]} -gt 0 ]] || _gtfs_value '<repo>'
    fi
    # What readline takes for the word begins after the last = or : in it.
    n=${COMP_WORDS[COMP_CWORD]-}
    case $n in =* | :*) n=${n:1} ;; esac
    word=${typed%"$n"}
    [[ $typed != *[=:]* ]] || COMPREPLY=("${COMPREPLY[@]#"$([[ $typed == --*=* ]] || printf %s "$word")"}")
}
complete -F _gtfs gtfs

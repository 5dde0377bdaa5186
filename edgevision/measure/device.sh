# What edgevision has a device's shell do. Needs a POSIX sh (dash, mksh, busybox, toybox), /proc, and the programs that
# edgevision/measure/attended.py lists; takes setsid and df where they are.
#
#   sh device.sh VERB FOLDER LOCK ID ...
#
#   FOLDER/store/KIB-SHA256   files by content, with their size
#   FOLDER/sessions/ID/       one session's own: inputs, outputs, "open" while it is
#   LOCK/ID                   who uses the device: "PID OWNER", of the process that runs `hold`
#
# A session's processes carry EDGEVISION_WORK=ID in their environment, so that they are found whatever became of their parents.
LC_ALL=C
export LC_ALL
umask 022

verb=$1 folder=$2 lock=$3 id=$4
store=$folder/store work=$folder/sessions/$id
shift 4
command -v setsid >/dev/null 2>&1 && apart=setsid || apart=

# --- processes and files ----------------------------------------------------------------------------------------------

sweep() { # NAME=ID...: kill every process with one of these in its environment, and what it starts meanwhile
    for pass in 1 2 3 4 5 6 7 8 9; do
        killed=
        for found in /proc/[0-9]*/environ; do
            [ -r "$found" ] || continue
            has=$(cat "$found" 2>/dev/null) 2>/dev/null
            pid=${found#/proc/} pid=${pid%/environ}
            for mark in "$@"; do
                case $has in *"$mark"*) [ "$pid" = "$$" ] || { kill -9 "$pid" && killed=1; } 2>/dev/null ;; esac
            done
        done
        [ -n "$killed" ] || return 0
    done
}

digest() { # FILE PROGRAM...: by the first that there is
    file=$1
    shift
    for program in "$@"; do
        command -v "$program" >/dev/null 2>&1 || continue
        set -- $("$program" <"$file")
        echo "$program $1"
        return
    done
}

strong() { digest "$1" sha256sum md5sum cksum; }
quick() { echo "$(digest "$1" cksum md5sum sha256sum) $(($(wc -c <"$1")))"; }

free_kib() {
    set -- $(df -P -k "$folder" 2>/dev/null | tail -n 1)
    case $4 in *[!0-9]* | "") echo unknown ;; *) echo "$4" ;; esac
}

frame() { # NONCE STATUS OUT ERR: what was printed, with lengths and checksums
    echo
    echo "EV:$1 $2 $(quick "$3") $(quick "$4") $(free_kib)"
    cat "$3" "$4"
}

evict() { # KIB: of the files that this session does not use, forget the oldest until this much is left
    total=0
    for name in $(ls -t "$store"); do
        total=$((total + ${name%%-*}))
        [ "$total" -le "$1" ] || grep -qF "$name" "$work/used" 2>/dev/null || rm -f "$store/$name"
    done
}

# --- one session at a time --------------------------------------------------------------------------------------------

# Who else has the device; records whose process is gone are removed. IDs are never used twice, and the process's command line
# holds its ID, so that neither a reboot nor another process of the same number keeps a lock.
other() {
    for file in "$lock"/*; do
        [ -f "$file" ] && [ "${file##*/}" != "$id" ] || continue
        read -r pid owner <"$file" 2>/dev/null || continue
        if grep -q "${file##*/}" "/proc/$pid/cmdline" 2>/dev/null; then
            echo "${owner:-someone}"
            return
        fi
        rm -f "$file"
    done
}

# Announce, then look: of two that announce, whoever looks later sees the other.
claim() {
    who=$(other)
    if [ -z "$who" ]; then
        echo "$$ $1" >"$lock/.$id" && mv "$lock/.$id" "$lock/$id" || exit 1
        who=$(other)
        [ -n "$who" ] || return 0
        rm -f "$lock/$id"
    fi
    echo "waiting $who"
    return 1
}

forget() { # ID: what a session left
    rm -f "$folder/sessions/$1/open"
    sweep "EDGEVISION_WORK=$1" "EDGEVISION_WATCH=$1"
    rm -rf "$folder/sessions/$1"
}

finish() {
    trap '' HUP INT TERM PIPE
    forget "$id"
    rm -f "$lock/$id" "$lock/.$id"
    echo gone 2>/dev/null
    exit 0
}

# Lives as long as its standard input, from which a line comes now and then. Says "waiting OWNER", "ready", "gone".
hold() { # WATCH_S OWNER
    [ ! -h "$lock" ] && mkdir -p "$store" "$folder/sessions" "$lock" || exit 1
    chmod 777 "$lock" 2>/dev/null
    trap 'rm -f "$lock/$id" "$lock/.$id"; exit 0' HUP INT TERM
    held=
    while read -r beat; do
        claim "$2" && held=1 && break
    done
    [ -n "$held" ] || exit 0
    trap finish HUP INT TERM PIPE
    for left in "$folder"/sessions/*; do
        [ ! -d "$left" ] || forget "${left##*/}"
    done
    mkdir "$work" && : >"$work/open" || finish
    EDGEVISION_WATCH=$id $apart sh "$0" watch "$folder" "$lock" "$id" "$$" "$1" </dev/null >/dev/null 2>&1 &
    echo ready
    beats=0
    while read -r beat; do
        beats=$((beats + 1))
        echo "$beats" >"$work/beat"
    done
    finish
}

# Ends a session whose lines stopped coming without an end of file (a network that went silent), or whose `hold` was killed.
watch() { # PID WATCH_S
    last=
    while sleep "$2"; do
        now=$(cat "$work/beat" 2>/dev/null)
        if [ "$now" = "$last" ] || ! grep -q "$id" "/proc/$1/cmdline" 2>/dev/null; then
            grep -q "$id" "/proc/$1/cmdline" 2>/dev/null && kill -9 "$1"
            finish
        fi
        last=$now
    done
}

over() {
    echo "the session has ended there" >&2
    exit 1
}

# --- what a session does ----------------------------------------------------------------------------------------------

check() { # NONCE NAME
    [ -f "$store/$2" ] || { echo "EV:$1 lacking"; return; }
    touch "$store/$2"
    echo "$2" >>"$work/used"
    echo "EV:$1 $(strong "$store/$2")"
}

receive() { # NONCE FILE
    cat >"$work/$2"
    echo "EV:$1 $? $(free_kib)"
}

keep() { # NONCE NAME SHA256 MD5 CKSUM BOUND_KIB
    case $(strong "$work/part") in
        "sha256sum $3" | "md5sum $4" | "cksum $5") ;;
        *) rm -f "$work/part"; echo "EV:$1 spoiled $(free_kib)"; return ;;
    esac
    echo "$2" >>"$work/used"
    chmod 755 "$work/part" && mv "$work/part" "$store/$2" && evict "$6" && echo "EV:$1 kept"
}

run() { # NONCE INPUT COMMAND
    cd "$work" 2>/dev/null || over
    ulimit -f 524288 2>/dev/null # blocks of 512 bytes: a program that prints without end fills no disk
    EDGEVISION_WORK=$id $apart sh -c "$3" <"$2" >"out.$1" 2>"err.$1" &
    child=$!
    # A session that ended in the meantime has looked for its processes already.
    [ -f open ] || kill -9 "-$child" 2>/dev/null || kill -9 "$child"
    wait "$child"
    status=$?
    [ -f open ] || over
    [ "$status" != 153 ] || : >"out.$1" # SIGXFSZ
    frame "$1" "$status" "out.$1" "err.$1"
    rm -f "out.$1" "err.$1"
}

fetch() { # NONCE FILE
    cd "$work" 2>/dev/null || over
    if [ -f "$2" ]; then frame "$1" 0 "$2" /dev/null; else frame "$1" 1 /dev/null /dev/null; fi
}

stop() { # NONCE
    sweep "EDGEVISION_WORK=$id"
    echo "EV:$1 stopped"
}

make_room() { # NONCE
    rm -f "$work/part"
    evict 0
    echo "EV:$1 $(free_kib)"
}

"$verb" "$@"

#!/bin/sh
# The whole story in one go: builds, starts a server of its own with two users, uploads a real file, kills the client in the
# middle, resumes, downloads, compares, and shows what is refused. Needs cargo and coreutils; leaves nothing behind.
#
#   ./demo.sh                a file of 1 GiB
#   DEMO_MIB=64 ./demo.sh    a smaller one
set -eu
cd "$(dirname "$0")"

mib=${DEMO_MIB:-1024}
target=${CARGO_TARGET_DIR:-$PWD/target}
server=
client=
dir=

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n== %s\n' "$*"; }
fail() { printf 'demo.sh: %s\n' "$*" >&2; exit 1; }
show() { printf '$ %s\n' "$*"; }

# Ends what this script started, by process id, and removes its directory.
clean_up() {
    status=$?
    trap - EXIT INT TERM
    for pid in $client $server; do kill "$pid" 2>/dev/null || true; done
    for pid in $client $server; do wait "$pid" 2>/dev/null || true; done
    [ -z "$dir" ] || rm -rf "$dir"
    [ "$status" = 0 ] || printf 'demo.sh: FAILED with status %s\n' "$status" >&2
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs ftp-cli as a user, showing the command as a person would type it.
as() {
    user=$1; shift
    printf '%s$ ftp-cli %s\n' "$user" "$*"
    "$bin/ftp-cli" --server "$user@$address" "$@"
}

# The same for a command that has to fail with an exit code.
refused() {
    code=$1; shift
    status=0
    as "$@" || status=$?
    [ "$status" = "$code" ] || fail "\`$*\` ended with $status and not with $code"
    printf '(exit code %s, as it should)\n' "$status"
}

size_of() { stat -c %s "$1" 2>/dev/null || echo 0; }
staged() { find "$dir/homes/alice/.ftpd/staging" -name '*.part' 2>/dev/null | head -n 1; }

[ "$mib" -ge 16 ] || fail "DEMO_MIB is $mib, and a demo needs at least 16 to be interrupted and refused"

say "Building"
cargo build --release --locked --package ftp-server --package ftp-client
bin=$target/release
dir=$(mktemp -d "$target/demo.XXXXXX")
free_mib=$(($(df -Pk "$dir" | awk 'NR == 2 { print $4 }') / 1024))
[ "$free_mib" -gt $((mib * 3 + 64)) ] || fail "$target has $free_mib MiB free, and a demo with $mib MiB needs $((mib * 3 + 64)); set DEMO_MIB"

say "A server with two users: alice has no quota, bob has 10 MiB"
config=$dir/users.toml
export FTP_CLI_CONFIG_DIR="$dir/profiles"
show "ftpd --config users.toml init"
"$bin/ftpd" --config "$config" init >/dev/null
# A port of its own, on this machine only.
sed -i 's|^# listen = .*|listen = "127.0.0.1:0"|' "$config"
for user in alice bob; do
    quota=; [ "$user" = alice ] || quota="--quota 10MiB"
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$dir/$user.password"
    show "ftpd --config users.toml user add $user $quota"
    # shellcheck disable=SC2086
    "$bin/ftpd" --config "$config" user add "$user" $quota --password-stdin <"$dir/$user.password" | head -n 1
done
show "ftpd --config users.toml"
"$bin/ftpd" --config "$config" 2>"$dir/server.log" &
server=$!
address=
until [ -n "$address" ]; do
    kill -0 "$server" 2>/dev/null || { cat "$dir/server.log" >&2; fail "the server did not start"; }
    address=$(sed -n 's/.*listening.* addr=\([0-9.:]*\).*/\1/p' "$dir/server.log")
    sleep 0.05
done
grep listening "$dir/server.log"
for user in alice bob; do
    as "$user" login --password-stdin <"$dir/$user.password"
    rm "$dir/$user.password"
done

cd "$dir"
while :; do
    say "alice uploads $mib MiB, and her client is killed in the middle"
    head -c $((mib * 1048576)) /dev/urandom >demo.bin
    total=$(size_of demo.bin)
    echo 'alice$ ftp-cli put demo.bin'
    "$bin/ftp-cli" --server "alice@$address" put demo.bin </dev/null &
    client=$!
    while kill -0 "$client" 2>/dev/null && [ "$(size_of "$(staged)")" -lt $((total * 40 / 100)) ]; do sleep 0.01; done
    kill -9 "$client" 2>/dev/null || true
    wait "$client" 2>/dev/null || true
    client=
    held=$(size_of "$(staged)")
    [ "$held" -eq 0 ] || [ "$held" -ge "$total" ] || break
    # Too fast for this file: nothing is left to resume.
    [ "$mib" -le 8192 ] || fail "the upload could not be interrupted"
    mib=$((mib * 2))
    printf '\nIt was through before the kill; again with %s MiB.\n' "$mib"
    as alice rm -f demo.bin
done
printf '\nkilled with SIGKILL; the server holds %s of %s bytes (%s %%), and nothing of it is visible:\n' \
    "$held" "$total" $((held * 100 / total))
as alice ls -l
[ -z "$("$bin/ftp-cli" --server "alice@$address" ls)" ] || fail "a half-done upload is visible"
as alice uploads

say "One byte of what the server holds goes bad, as on a failing disk"
part=$(staged)
at=$((held / 2))
byte=$(od -An -N1 -j "$at" -tu1 "$part" | tr -d ' ')
# shellcheck disable=SC2059
printf "\\$(printf %03o $((byte ^ 1)))" | dd of="$part" bs=1 seek="$at" conv=notrunc status=none
echo "flipped a bit of byte $at"

say "alice goes on where it broke off: kept, repaired and sent are counted"
as alice put --resume demo.bin
json=$("$bin/ftpd" --config "$config" log --json --op put --user alice -n 1)
case $json in
    *'"resumed_from":'*'"repaired":'*'"outcome":"ok"'*) ;;
    *) fail "the upload was not resumed and repaired: $json" ;;
esac

say "alice downloads it, and it is equal byte for byte"
as alice get demo.bin copy.bin
show "cmp demo.bin copy.bin"
cmp demo.bin copy.bin
show "sha256sum demo.bin"
sha256sum demo.bin
as alice sum --fresh demo.bin

say "bob sees nothing of it"
as bob ls -l
[ -z "$("$bin/ftp-cli" --server "bob@$address" ls)" ] || fail "bob sees files that are not his"
refused 4 bob get demo.bin stolen.bin
refused 5 bob get ../alice/demo.bin stolen.bin
[ ! -e stolen.bin ] || fail "bob got a file"

say "bob's quota of 10 MiB refuses 11 MiB before a byte flows"
head -c 11534336 demo.bin >eleven.bin
refused 6 bob put eleven.bin
as bob df

say "What the server logged"
show "ftpd --config users.toml log"
"$bin/ftpd" --config "$config" log
show "ftpd --config users.toml log --summary"
"$bin/ftpd" --config "$config" log --summary

kill -TERM "$server"
wait "$server" || fail "the server did not end well"
server=
say "Done: interrupted, repaired, resumed, verified; and nothing left behind"

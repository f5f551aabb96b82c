# Runs a server that must not outlive its owner.
#
#   sh watch.sh FIRST GRACE SECOND COMMAND [ARGUMENT...]
#
# Standard input is held open by the owner. When it ends, because the owner closed it or is dead
# (SIGKILL included), the server gets signal FIRST, and GRACE seconds later SECOND. The server's
# process id is written to standard output; what the server itself writes goes to standard error.
# Ends with the server, with its exit code. A shell, since a second interpreter would cost 8 MB.
first=$1 grace=$2 second=$3
shift 3
# A service manager that signals the whole group must not take the watcher before the server.
trap : TERM INT HUP
exec 3<&0
"$@" </dev/null >&2 3<&- &
server=$!
echo "$server"
exec >&2
(
    read -r _ <&3
    sleep "$grace" 3<&- &
    trap 'kill "$!"; exit' TERM
    kill -s "$first" "$server"
    wait "$!"
    kill -s "$second" "$server"
) 2>/dev/null &
guard=$!
exec 3<&-
code=0
while :; do
    wait "$server"
    code=$?
    kill -0 "$server" 2>/dev/null || break
done
kill "$guard" 2>/dev/null
exit "$code"

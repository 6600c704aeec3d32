#!/bin/sh
# Install the servers that the tests start: Redis, or Valkey. Quick and silent when one is there. (A Valkey beside it comes with
# the extra `test`, as a Python package.)
#
# The tests start servers of their own, on free ports and with temporary folders. So what a package brings along as a service
# of the system is stopped and does not start again.
set -u

if command -v redis-server >/dev/null 2>&1 || command -v valkey-server >/dev/null 2>&1; then
    exit 0
fi

say() {
    echo "$1" >&2
}

# Without a server its tests are skipped; where NEED_SERVERS is set nothing may be skipped.
give_up() {
    say "$1; install redis-server (or valkey-server) and repeat, or the tests that need it are skipped"
    [ -z "${NEED_SERVERS:-}" ] || exit 1
    exit 0
}

[ "$(uname)" = Linux ] && command -v apt-get >/dev/null 2>&1 ||
    give_up "no redis-server here, and no apt-get to install it (macOS: brew install redis; Fedora: dnf install valkey)"
[ "$(id -u)" = 0 ] || give_up "no redis-server here, and only root can install it: sudo apt-get install redis-server"

echo "installing redis-server for the tests"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# `policy-rc.d` is how Debian is told not to start services while packages are installed.
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made=yes
fi
export DEBIAN_FRONTEND=noninteractive
apt-get install -y --no-install-recommends redis-server >"$log" 2>&1 ||
    { apt-get update >>"$log" 2>&1 && apt-get install -y --no-install-recommends redis-server >>"$log" 2>&1; }
[ -z "$made" ] || rm -f "$policy"
if [ -d /run/systemd/system ]; then
    systemctl disable --now redis-server >/dev/null 2>&1
fi

command -v redis-server >/dev/null 2>&1 || { tail -n 5 "$log" >&2; give_up "apt-get could not install redis-server"; }

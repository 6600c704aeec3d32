#!/bin/sh
# Jobs from a shell, by redis-cli. PORT is the server's, PREFIX the app's: "nursery-tasks" where its URL names no other.
set -eu
redis="redis-cli -p ${PORT:-6379}"
app="{${PREFIX:-nursery-tasks}}"

# A message, and its answer: {"id":"sum","response":3}
$redis RPUSH "$app:in:default" '{"id": "sum", "task": "add", "args": [1, 2], "reply_to": "sums"}' >/dev/null
$redis BLPOP "$app:out:sums" 20 | tail -n 1

# What is no message at all goes to the task that takes what is raw on the queue `notes`: res-hello
$redis LPUSH "$app:raw:notes" hello >/dev/null
$redis BLPOP "$app:out:notes-answers" 20 | tail -n 1

# Nobody can read this one: it becomes a dead job, which `nursery-tasks jobs --state dead` shows, and disturbs nobody.
$redis RPUSH "$app:in:default" 'not json' >/dev/null

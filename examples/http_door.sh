#!/bin/sh
# The HTTP door, by curl. DOOR is its address.
set -eu
door="${DOOR:-http://127.0.0.1:8000}"
post="curl -sS -H Content-Type:application/json"

# --8<-- [start:submit]
# Submit a job: 202, and its id
$post "$door/tasks/add" -d '{"args": [1, 2], "options": {"tags": ["sums"]}}'
# --8<-- [end:submit]
echo
# --8<-- [start:wait]
# Own a job: 200, and its result; Ctrl-C would cancel it
$post "$door/tasks/render" -H "Prefer: wait=10" -d '{"args": ["intro", 0.1]}'
# --8<-- [end:wait]
echo
# --8<-- [start:over]
# What does not end in its time is cancelled: 504
$post "$door/tasks/render" -H "Prefer: wait=0.2" -d '{"args": ["film", 3600]}'
# --8<-- [end:over]
echo
# --8<-- [start:again]
# The same key is the same job, however often you ask
$post "$door/tasks/add" -H "Idempotency-Key: order-17" -H "Prefer: wait=10" -d '{"args": [3, 4]}'
$post "$door/tasks/add" -H "Idempotency-Key: order-17" -H "Prefer: wait=10" -d '{"args": [3, 4]}'
# --8<-- [end:again]
echo
# --8<-- [start:wrong]
# What is wrong is named: 422
$post "$door/tasks/add" -d '{"args": [1, "two"]}'
# --8<-- [end:wrong]
echo
# --8<-- [start:bulk]
# Many at once, a line each; the second is wrong, and the others are stored
printf '%s\n' '{"task": "add", "args": [1, 1]}' '{"task": "ad"}' '{"task": "add", "args": [2, 2]}' |
    curl -sS -H Content-Type:application/x-ndjson --data-binary @- "$door/bulk"
# --8<-- [end:bulk]
# --8<-- [start:queue]
# A message, as another program would put it into a queue; its raw task answers
$post "$door/queues/notes" -H "Prefer: wait=10" -d 'hello'
# --8<-- [end:queue]
echo
# --8<-- [start:look]
# Look
curl -sS "$door/jobs?task=add&state=succeeded&limit=1"
curl -sS "$door/queues"
# --8<-- [end:look]

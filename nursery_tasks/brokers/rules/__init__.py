"""The state machine of a broker, in Python: what the jobs are, and what each call and the time make of them.

The memory broker is these rules behind a lock. The broker on RabbitMQ without a store keeps what one process knows of its jobs
by the same ones. They are pure: the moment (`now`, on the broker's clock) comes in with each call, tokens come from a function
that is passed in, and what others should hear of is collected in `Hints`. Whoever calls them sees to it that one call is made
at a time, and tells the hints after it.

    hints, leases, locks, replies, schedules, pauses
                                     on their own
    job                              one job, and the gate at which it may stand
    gates, parked, timeline          where jobs wait: for a limit, for a worker that knows them, for a moment
    shares                           whose turn it is in a fair queue
    order                            which job is next: in its queue, and in time
    table                            all jobs by id, owner and key; every change of a state
    moves                            what becomes of one job
    owners                           what an owner's lease and end do to its jobs
    machine                          the calls of clients and workers
    claims, sweeping                 those for which the order of all jobs has to be known
"""

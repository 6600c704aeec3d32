"""Cron expressions: what they say, which days and times those are, and how to say it in words.

    minute hour day-of-month month day-of-week             five fields
    second minute hour day-of-month month day-of-week      six

All here is about the wall: local dates and times without a zone. `expression` reads a text into `Fields`, `walk` finds the
next time that fits them, `words` says them. The rule for days is that of Vixie's cron (crontab(5),
https://man7.org/linux/man-pages/man5/crontab.5.html): when both day fields are restricted, one of them is enough; when one of
them begins with `*`, both must fit.
"""

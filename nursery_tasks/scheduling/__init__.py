"""When things happen again: specs as pure data, and the arithmetic of "the next time after". No clock, no broker."""

from .crontab.spec import Cron as Cron
from .crontab.spec import cron as cron
from .interval import Every as Every
from .interval import every as every
from .once import At as At
from .once import at as at
from .solar import Sun as Sun
from .solar import sun as sun
from .spec import Spec as Spec
from .text import parse_spec as parse_spec
from .union import AnyOf as AnyOf
from .union import AnySpec as AnySpec
from .union import any_of as any_of

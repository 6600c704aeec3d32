"""`nursery-tasks schedules`: what runs again and again, seen and changed from outside."""

from .group import schedules as schedules

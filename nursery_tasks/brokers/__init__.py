"""Brokers: where jobs wait, and who holds them."""

"""Stages: tasks that take and make messages of channels, and what feeds them."""

"""What the tests of channels share: harnesses for the contract."""

from __future__ import annotations

from nursery_tasks.testing.channels import Away, ChannelHarness, MemoryChannel


def harness_of(channel: MemoryChannel, *, seconds: float = 20.0) -> ChannelHarness:
    """Describe a channel in memory to the suite."""

    async def stop() -> None:
        channel.go_away()

    async def start() -> None:
        channel.come_back()

    async def end(place: str) -> None:
        channel.end(place)

    async def occupy(place: str) -> None:
        channel.refuse(place)

    return ChannelHarness(
        opener=lambda: channel, away=Away(stop, start), impossible=[""], occupy=occupy, end=end, seconds=seconds
    )

"""Who may do what, and direct messages."""

from __future__ import annotations

from tests.bots.discord.support import Bench


async def test_direct_messages(dc: Bench) -> None:
    """A direct message is a room in which the person is the admin; the bot has no webhook there."""
    await dc.start()
    channel = dc.double.dm(dc.ann)
    dc.double.say(channel, dc.ann, "-sameroom open")
    event = await dc.said("-sameroom open")
    assert dc.adapter.capabilities(event.room).names == "fallback"
    assert dc.adapter.room_info(event.room).title == "Ann"
    await dc.adapter.send(dc.out("Your code", event.room))
    assert dc.read(channel) == [("Bridge", "Your code")]
    assert await dc.adapter.is_admin(event.room, dc.ann["id"])
    assert not await dc.adapter.is_admin(event.room, dc.bob["id"])


async def test_who_runs_a_channel(dc: Bench) -> None:
    """The owner, administrators, and who may manage the channel, as of now; by nothing that a message says."""
    await dc.start()
    assert not await dc.adapter.is_admin(dc.room, dc.ann["id"])
    gardeners = dc.double.role(dc.guild, "Gardeners", 0)
    dc.guild.members[dc.ann["id"]]["roles"] = [gardeners]
    dc.double.overwrite(dc.guild, dc.garden, gardeners, allow=1 << 4)
    dc.guild.members[dc.bob["id"]]["roles"] = [dc.double.role(dc.guild, "Admins", 1 << 3)]
    dc.double.say(dc.garden, dc.ann, "done")
    await dc.said("done")
    assert await dc.adapter.is_admin(dc.room, dc.ann["id"])
    assert await dc.adapter.is_admin(dc.room, dc.bob["id"])
    assert await dc.adapter.is_admin(dc.room, dc.guild.raw["owner_id"])
    assert not await dc.adapter.is_admin(dc.room, "Olga")
    dc.guild.members[dc.ann["id"]]["roles"] = []
    assert not await dc.adapter.is_admin(dc.room, dc.ann["id"])

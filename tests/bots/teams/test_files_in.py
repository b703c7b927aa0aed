"""Pictures and files of people: from the service with the bot's token, from elsewhere without it, never inside."""

from __future__ import annotations

import pytest

from core.contract import Rejected, Retry
from core.model import FileRef, MessageNew
from core.store import Redis
from tests.bots.teams.conftest import World, running
from tests.fakes.teams import Fault

PNG = b"\x89PNG\r\n\x1a\n" + b"p" * 300_000


async def opened(world: World, ref: FileRef) -> bytes:
    """All its bytes."""
    return b"".join([chunk async for chunk in world.adapter.open_file(ref.ref)])


def last(world: World) -> MessageNew:
    """The newest message."""
    return world.inbox.of(MessageNew)[-1]


async def test_a_pasted_picture(world: World) -> None:
    """It comes with its text, can be opened in any process, and its reference holds neither token nor address."""
    people = await world.channel("Ann")
    await people.share_picture("Ann", PNG, "image/png", "look")
    message = last(world)
    assert message.text.plain == "look"
    assert message.files[0].mime == "image/png"
    assert "/" not in message.files[0].ref
    assert await opened(world, message.files[0]) == PNG
    async with running(world.store, **world.service.settings()) as other:
        assert await opened(other, message.files[0]) == PNG


async def test_a_file_in_a_chat_with_the_bot(world: World) -> None:
    """By its download address, without the bot's token."""
    people = await world.chat("Ann", personal=True)
    await people.share_file("Ann", "plan.pdf", b"%PDF-1.7", "application/pdf", "the plan")
    message = last(world)
    assert (message.files[0].name, message.files[0].mime) == ("plan.pdf", "application/pdf")
    assert await opened(world, message.files[0]) == b"%PDF-1.7"
    assert world.asked("/sharepoint/")


async def test_the_token_goes_to_the_service_only(world: World) -> None:
    """A picture elsewhere is fetched without the token, and not at all inside of our network (threats 12, 13)."""
    people = await world.chat("Ann")
    inside = (
        "http://10.0.0.7/x.png",
        "http://[::ffff:127.0.0.2]/x.png",
        "http://169.254.169.254/x",
        "https://[64:ff9b::a00:1]/",
    )
    for url in inside:
        file = {"contentType": "image/png", "contentUrl": url}
        await people.say("Ann", "<p>x</p>", files=(file,))
        with pytest.raises(Rejected, match="public"):
            await opened(world, last(world).files[0])
    world.service.transcript.clear()
    file = {
        "contentType": "image/png",
        "contentUrl": f"http://localhost:{world.service.port}/amer/v3/attachments/x/views/original",
    }
    await people.say("Ann", "<p>x</p>", files=(file,))
    with pytest.raises(Rejected):
        await opened(world, last(world).files[0])
    assert not world.asked("/oauth2/"), "no token was even asked for"


async def test_a_redirect_is_not_followed_with_the_token(world: World) -> None:
    """The service sends nobody elsewhere with our token."""
    people = await world.chat("Ann")
    await people.share_picture("Ann", PNG, "image/png")
    world.service.faults.append(Fault("attachments", 302, headers={"Location": f"{world.service.url}/sharepoint/x"}))
    with pytest.raises(Rejected):
        await opened(world, last(world).files[0])
    assert not world.asked("/sharepoint/")


async def test_a_file_larger_than_allowed(store: Redis) -> None:
    """It is refused, however it is served (threat 17)."""
    async with running(store, max_file_bytes=1000) as world:
        people = await world.chat("Ann")
        await people.share_picture("Ann", PNG, "image/png")
        with pytest.raises(Rejected, match="larger"):
            await opened(world, last(world).files[0])


async def test_a_file_that_is_gone(world: World) -> None:
    """Unknown here, deleted there, or its server is away for now."""
    people = await world.chat("Ann")
    with pytest.raises(Rejected, match="no longer"):
        await opened(world, FileRef(world.adapter.account, "nothing", "x"))
    await people.share_picture("Ann", PNG, "image/png")
    world.service.faults.append(Fault("attachments", 503))
    with pytest.raises(Retry):
        await opened(world, last(world).files[0])
    world.service.files.clear()
    with pytest.raises(Rejected):
        await opened(world, last(world).files[0])


async def test_a_file_of_a_teams_library_is_a_link(world: World) -> None:
    """Bots may not open it; members of the other room may have access of their own."""
    people = await world.channel("Ann")
    file = {"contentType": "reference", "contentUrl": "https://club.sharepoint.example/plan.docx", "name": "plan.docx"}
    await people.say("Ann", "<p>see</p>", files=(file,))
    text = last(world).text
    assert text.plain == "see\n📎 plan.docx"
    assert text.entities[0].value == "https://club.sharepoint.example/plan.docx"

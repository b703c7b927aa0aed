"""The double, driven by python-telegram-bot itself: what it says is what a real client of Telegram understands."""

from __future__ import annotations

import pytest
import telegram
from telegram.request import HTTPXRequest

from tests.bots.telegram.support import Bench


def client(tg: Bench) -> telegram.Bot:
    """A bot of python-telegram-bot."""
    request = HTTPXRequest(httpx_kwargs={"trust_env": False})
    return telegram.Bot(
        tg.double.token,
        base_url=f"{tg.double.url}/bot",
        base_file_url=f"{tg.double.url}/file/bot",
        request=request,
        get_updates_request=HTTPXRequest(httpx_kwargs={"trust_env": False}),
    )


async def test_a_real_client_reads_and_writes(tg: Bench) -> None:
    """Updates, posts, files and members parse as the objects of the Bot API."""
    tg.group.members[tg.double.bot.id] = "administrator"
    async with client(tg) as bot:
        assert bot.username == "bridge_bot"
        assert bot.can_read_all_group_messages
        said = tg.double.say(tg.group, tg.ann, "hello", entities=[{"type": "bold", "offset": 0, "length": 5}])
        tg.double.album(tg.group, tg.ann, [b"one", b"two"])
        await bot.get_updates(allowed_updates=["message", "message_reaction"], timeout=0)
        tg.double.react(tg.group, tg.bob, said.id, ["👍"])
        updates = await bot.get_updates(timeout=0)
        assert [update.effective_chat.id for update in updates] == [tg.group.id] * 4
        assert updates[0].message.entities[0].type == "bold"
        assert updates[1].message.media_group_id == updates[2].message.media_group_id
        assert updates[3].message_reaction.new_reaction[0].emoji == "👍"
        assert not await bot.get_updates(offset=updates[-1].update_id + 1, timeout=0)
        made = await bot.send_document(tg.group.id, b"%PDF", filename="plan.pdf", caption="plan")
        assert bytes(await (await bot.get_file(made.document.file_id)).download_as_bytearray()) == b"%PDF"
        assert (await bot.edit_message_caption(tg.group.id, made.message_id, caption="new")).caption == "new"
        assert await bot.set_message_reaction(tg.group.id, made.message_id, "🔥")
        assert await bot.delete_messages(tg.group.id, [made.message_id, 9_999])
        assert (await bot.get_chat_member(tg.group.id, tg.bob.id)).status == "creator"


async def test_it_refuses_what_telegram_refuses(tg: Bench) -> None:
    """The errors are those that a real client expects."""
    async with client(tg) as bot:
        for text, words in (("x" * 4_097, "too long"), (" ", "text is empty")):
            with pytest.raises(telegram.error.BadRequest, match=words):
                await bot.send_message(tg.group.id, text)
        with pytest.raises(telegram.error.Forbidden, match="not a member"):
            await bot.send_message(tg.double.chat("Elsewhere", tg.ann).id, "hello")
        await bot.set_webhook("https://bridge.example.org/x", secret_token="abc")
        with pytest.raises(telegram.error.Conflict, match="webhook is active"):
            await bot.get_updates(timeout=0)

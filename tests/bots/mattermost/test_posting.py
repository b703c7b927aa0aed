"""What goes out: names, threads, files, edits, and what becomes of every refusal."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from core.contract import AuthLost, Offline, OutFile, Rejected, Retry, Uncertain
from core.model import Author, NativeId
from tests.bots.mattermost.conftest import ALICE, Garden
from tests.fakes.mattermost import Fault
from tests.fakes.mattermost_world import new_id


def out_file(data: bytes, name: str = "plan.pdf", size: int | None = None) -> OutFile:
    """A file to post."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    return OutFile(
        name, "application/pdf", len(data) if size is None else size, f"https://portal.example/f/{name}", chunks
    )


async def restarted(garden: Garden, **config: Any) -> None:
    """The server comes back with another configuration, and the bot reads it."""
    garden.double.config |= config
    garden.events.is_online = False
    garden.double.cut(forget=True)
    await garden.until(lambda: garden.events.is_online)


# --- names


async def test_names_where_the_server_lets_us(garden: Garden) -> None:
    """With the permission, up to version 11, posts stand under the author's name and picture, not in the text."""
    assert garden.adapter.capabilities(garden.room).names == "fallback"
    await restarted(garden, EnablePostUsernameOverride="true", EnablePostIconOverride="true")
    caps = garden.adapter.capabilities(garden.room)
    assert (caps.names, caps.avatars) == ("full", "full")
    receipt = await garden.adapter.send(garden.post("hello"))
    post = garden.double.posts[receipt.natives[0]]
    assert garden.double.author(post) == "Alice"
    assert post["props"]["override_icon_url"] == ALICE.avatar_url
    ours = await garden.adapter.send(garden.post("said by the bot", author=None))
    assert garden.double.author(garden.double.posts[ours.natives[0]]) == "bridge"
    await garden.adapter.edit(receipt.natives, garden.post("hello again"))
    assert garden.double.author(post) == "Alice"


async def test_no_names_from_version_12(garden: Garden) -> None:
    """A server of version 12 takes no names from bots, whatever its configuration says."""
    await restarted(garden, EnablePostUsernameOverride="true", Version="12.0.1")
    caps = garden.adapter.capabilities(garden.room)
    assert (caps.names, caps.bold_names) == ("fallback", True)
    await garden.adapter.send(garden.post("hello"))
    assert garden.double.author(garden.double.standing(garden.channel)[0]) == "bridge"


async def test_a_name_that_is_taken_away_is_put_into_the_text(garden: Garden) -> None:
    """Where the server strips the name after all, the nameless post goes, and the next try has it in the text."""
    await restarted(garden, EnablePostUsernameOverride="true")
    garden.double.config["Version"] = "12.0.0"
    outbound = garden.post("hello")
    with pytest.raises(Retry):
        await garden.adapter.send(outbound)
    assert garden.shown() == []
    assert garden.adapter.capabilities(garden.room).names == "fallback"
    await garden.adapter.send(outbound)
    assert garden.shown() == ["hello"]


async def test_hardened_mode_is_noticed(garden: Garden) -> None:
    """A signed-in session may not use the properties under hardened mode: the name goes into the text."""
    garden.double.bot.is_integration = False
    await restarted(garden, EnablePostUsernameOverride="true", ExperimentalEnableHardenedMode="true")
    outbound = garden.post("hello")
    with pytest.raises(Retry):
        await garden.adapter.send(outbound)
    await garden.adapter.send(outbound)
    assert garden.shown() == ["hello"]


# --- the same post again


async def test_the_same_post_again_is_one_post(garden: Garden) -> None:
    """Within the server's window, a repeated post is the same post."""
    outbound = garden.post("once")
    assert await garden.adapter.send(outbound) == await garden.adapter.send(outbound)
    assert garden.shown() == ["once"]


async def test_a_post_whose_answer_was_lost_is_found(garden: Garden) -> None:
    """The request left and no answer came: uncertain, and a look at the channel tells; else not."""
    outbound, never = garden.post("did it arrive?"), garden.post("never")
    garden.double.faults += [Fault("POST posts", drop="after"), Fault("POST posts", drop="before")]
    with pytest.raises(Uncertain):
        await garden.adapter.send(outbound)
    with pytest.raises(Uncertain):
        await garden.adapter.send(never)
    found = await garden.adapter.find_sent(outbound)
    assert found
    assert garden.double.posts[found.natives[0]]["message"] == "did it arrive?"
    assert await garden.adapter.find_sent(never) is None


async def test_a_long_post_goes_on_where_it_stopped(garden: Garden) -> None:
    """Another try posts only the parts that are not there yet, also when the server has forgotten the keys."""
    await restarted(garden, MaxPostSize="200")
    outbound = garden.post(" ".join(f"word{n:03}" for n in range(60)))
    garden.double.faults += [Fault("POST posts"), Fault("POST posts", drop="after")]
    with pytest.raises(Uncertain):
        await garden.adapter.send(outbound)
    garden.double._seen.clear()
    assert await garden.adapter.find_sent(outbound) is None
    receipt = await garden.adapter.send(outbound)
    assert " ".join(garden.shown()).split() == [f"word{n:03}" for n in range(60)]
    assert [garden.double.posts[native]["message"] for native in receipt.natives] == garden.shown()
    assert await garden.adapter.find_sent(outbound) == receipt


async def test_the_same_post_under_way_is_waited_for(garden: Garden) -> None:
    """The server is still busy with the first try: a short wait, and then it is that post."""
    outbound = garden.post("slow")
    garden.double._seen[f"{garden.double.bot.id}:{outbound.key}/0/plain"] = ""
    with pytest.raises(Retry) as caught:
        await garden.adapter.send(outbound)
    assert caught.value.after_s == 1.0


# --- refusals

SHAPE = {"id": "some.error", "message": "No.", "detailed_error": "", "status_code": 400}


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault("POST posts", 429, "limit exceeded", {"X-Ratelimit-Reset": "7"}), Retry, "slow down"),
        (Fault("POST posts", 429, "limit exceeded"), Retry, "slow down"),
        (Fault("POST posts", 401, {"id": "api.context.session_expired.app_error"}), AuthLost, "token"),
        (Fault("POST posts", 403, {"id": "api.context.permissions.app_error"}), Rejected, "may not"),
        (Fault("POST posts", 400, SHAPE), Rejected, "No."),
        (Fault("POST posts", 413, "<html>too large</html>"), Rejected, "413"),
        (Fault("POST posts", 500, {"id": "app.post.save.app_error"}), Uncertain, "500"),
        (Fault("POST posts", 502, "<html>Bad gateway</html>"), Uncertain, "502"),
        (Fault("POST posts", 200, "<html>Sign in to the network</html>"), Uncertain, "sense"),
        (Fault("POST posts", 302, "", {"Location": "http://127.0.0.1:9/"}), Uncertain, "302"),
        (Fault("POST posts", drop="before"), Uncertain, "answer"),
    ],
)
async def test_every_refusal_means_something(garden: Garden, fault: Fault, error: type[Exception], words: str) -> None:
    """What the server or a proxy answers is either certain (wait, never, sign in) or uncertain."""
    garden.double.faults.append(fault)
    with pytest.raises(error, match=words) as caught:
        await garden.adapter.send(garden.post("hello"))
    assert not isinstance(caught.value, Offline)
    if fault.status == 429:
        assert isinstance(caught.value, Retry)
        assert caught.value.whole_account
        assert caught.value.after_s == (7.0 if fault.headers else 5.0)


async def test_no_answer_is_uncertain(garden: Garden) -> None:
    """A server that takes the request and says nothing leaves it open."""
    await garden.start(request_timeout_s=0.2)
    hold = asyncio.Event()
    garden.double.faults.append(Fault("POST posts", hold=hold))
    with pytest.raises(Uncertain):
        await garden.adapter.send(garden.post("hello"))
    hold.set()


async def test_offline_is_certain(quiet: Garden) -> None:
    """Without a connection nothing is sent, and that is certain."""
    adapter = quiet.made(server_url="http://127.0.0.1:9")
    await adapter.start(quiet.events)
    await quiet.until(lambda: quiet.events.reasons)
    with pytest.raises(Offline):
        await adapter.send(quiet.post("hello"))
    await adapter.stop()
    assert "reached" in quiet.events.reasons[0]


async def test_an_archived_channel_refuses_in_words(garden: Garden) -> None:
    """People in the other rooms are told why."""
    garden.channel.delete_at = 1
    with pytest.raises(Rejected, match="archived"):
        await garden.adapter.send(garden.post("hello"))
    with pytest.raises(Rejected, match="no channel"):
        await garden.adapter.ping("mm/../../users")  # type: ignore[arg-type]


async def test_nothing_to_show_is_refused(garden: Garden) -> None:
    """A post of nothing is no post."""
    with pytest.raises(Rejected):
        await garden.adapter.send(garden.post(" \n "))


# --- threads, edits, deletions, reactions


async def test_an_answer_to_an_answer_is_in_the_thread(garden: Garden) -> None:
    """Mattermost has one level: an answer to a post in a thread goes under the thread's root."""
    root = garden.say("root")
    below = garden.say("below", root_id=root["id"])
    for target in (root, below):
        receipt = await garden.adapter.send(garden.post("answer", reply_to=NativeId(target["id"])))
        assert garden.double.posts[receipt.natives[0]]["root_id"] == root["id"]


async def test_an_answer_to_what_is_gone_is_a_post(garden: Garden) -> None:
    """Where the root was deleted or is unknown, the words stand in the channel."""
    root = garden.say("root")
    await garden.adapter.send(garden.post("first", reply_to=NativeId(root["id"])))
    garden.double.delete(root, garden.ann)
    for target in (root["id"], new_id(), "no/../id"):
        receipt = await garden.adapter.send(garden.post("answer", reply_to=NativeId(target)))
        assert garden.double.posts[receipt.natives[0]]["root_id"] == ""


async def test_an_edit_grows_and_shrinks(garden: Garden) -> None:
    """Parts are changed in place, those too many are deleted, missing ones are posted."""
    await restarted(garden, MaxPostSize="200")
    receipt = await garden.adapter.send(garden.post("short"))
    longer = await garden.adapter.edit(receipt.natives, garden.post("word " * 60))
    assert len(longer.natives) == 2
    assert longer.natives[0] == receipt.natives[0]
    again = await garden.adapter.edit(longer.natives, garden.post("short again"))
    assert garden.shown() == ["short again"]
    assert again.natives == receipt.natives


async def test_one_reaction_stands_for_all(garden: Garden) -> None:
    """The bot's reaction stays until the last of those who wanted it takes it away."""
    post = garden.say("news")
    native = NativeId(post["id"])
    for author, added, count in (("a", True, 1), ("b", True, 1), ("a", False, 1), ("b", False, 0)):
        await garden.adapter.react(garden.room, native, "🎉", added, Author(author, author))
        assert len(garden.double.reactions[post["id"]]) == count


@pytest.mark.parametrize("emoji", ["🥷", ":no-such-thing:", "not an emoji"])
async def test_an_emoji_that_the_server_lacks_is_refused(garden: Garden, emoji: str) -> None:
    """Then the core says it in words."""
    post = garden.say("news")
    with pytest.raises(Rejected):
        await garden.adapter.react(garden.room, NativeId(post["id"]), emoji, True, ALICE)
    assert not garden.double.reactions.get(post["id"])


async def test_what_stands_for_an_emoji_leads_nowhere_else(garden: Garden) -> None:
    """Elsewhere anything can be a reaction; put into an address it must not reach another call of the API."""
    mine = (await garden.adapter.send(garden.post("keep me"))).natives[0]
    native = NativeId(garden.say("news")["id"])
    for added in (True, False):
        with pytest.raises(Rejected):
            await garden.adapter.react(garden.room, native, f":../../../../../posts/{mine}:", added, ALICE)
    assert not garden.double.posts[mine]["delete_at"]


async def test_deleting_the_posts_of_others_is_refused(garden: Garden) -> None:
    """What is there and not ours is an error; what is gone is none."""
    with pytest.raises(Rejected):
        await garden.adapter.delete(garden.room, [NativeId(garden.say("hers")["id"])])
    await garden.adapter.delete(garden.room, [NativeId(new_id())])


# --- files


async def test_files_that_do_not_fit_become_links(garden: Garden) -> None:
    """Too large by its own word, too large in truth, refused by the server, or one too many: a link instead."""
    await restarted(garden, MaxFileSize="5000")
    files = (
        out_file(b"x" * 6000, "told.pdf"),
        out_file(b"x" * 9000, "lied.pdf", size=10),
        out_file(b"x" * 100, "ok.pdf"),
    )
    receipt = await garden.adapter.send(garden.post("see", files=files))
    post = garden.double.posts[receipt.natives[0]]
    assert [garden.double.files[ref][0]["name"] for ref in post["file_ids"]] == ["ok.pdf"]
    shown = garden.double.shown(post).plain
    assert "https://portal.example/f/told.pdf" in shown
    assert "https://portal.example/f/lied.pdf" in shown
    garden.double.faults.append(Fault("POST files", 403, {"id": "api.context.permissions.app_error"}))
    await garden.adapter.send(garden.post("", files=(out_file(b"y", "refused.pdf"),)))
    assert "refused.pdf" in garden.shown()[-1]
    await garden.adapter.send(garden.post("many", files=tuple(out_file(b"z", f"n{n}.pdf") for n in range(12))))
    assert "n11.pdf" in garden.shown()[-1]


async def test_without_attachments_the_core_writes_links(garden: Garden) -> None:
    """A server without attachments says so, and the capability follows."""
    await restarted(garden, EnableFileAttachments="false")
    assert garden.adapter.capabilities(garden.room).file == "fallback"


async def test_a_download_is_capped_and_streamed(garden: Garden) -> None:
    """Threat 17: a file larger than the limit is given up, and memory does not grow with it."""
    ref = garden.double.upload("big.bin", "application/octet-stream", b"\0" * 30_000_000, garden.ann, garden.channel)
    adapter = garden.made(download_limit_bytes=25_000_000)
    taken: list[int] = []

    async def fetch() -> None:
        async for chunk in adapter.open_file(ref):
            taken.append(len(chunk))

    tracemalloc.start()
    with pytest.raises(Rejected, match="larger"):
        await fetch()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 < sum(taken) <= 25_000_000
    assert peak < 20_000_000


@pytest.mark.parametrize(
    "ref", ["../users/me", "http://127.0.0.1:9/x", "%2e%2e", "", "a" * 25, "A" * 26, "files\n" + "a" * 20]
)
async def test_only_files_of_the_server_are_opened(garden: Garden, ref: str) -> None:
    """Threat 13: a reference is an id and never an address or a path."""
    with pytest.raises(Rejected):
        await anext(garden.adapter.open_file(ref))


async def test_redirects_are_not_followed(garden: Garden) -> None:
    """Threat 13: neither files nor calls lead anywhere else than to the operator's server, nor does the token."""
    asked: list[str] = []

    async def victim(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode())
        writer.close()

    server = await asyncio.start_server(victim, "127.0.0.1", 0)
    there = {"Location": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/secret"}
    garden.double.faults += [Fault("GET files/.*", 302, "", there), Fault("POST posts", 307, "", there)]
    with pytest.raises(Rejected):
        await anext(garden.adapter.open_file("a" * 26))
    with pytest.raises(Uncertain):
        await garden.adapter.send(garden.post("hello"))
    server.close()
    await server.wait_closed()
    assert asked == []


async def test_packed_answers_are_not_opened(garden: Garden) -> None:
    """Threat 18: nothing is unpacked, neither a file nor an answer."""
    packed = {"Content-Encoding": "gzip"}
    garden.double.faults += [Fault("GET files/.*", 200, "x" * 100, packed), Fault("POST posts", 201, "x" * 100, packed)]
    with pytest.raises(Rejected):
        await anext(garden.adapter.open_file("a" * 26))
    with pytest.raises(Uncertain):
        await garden.adapter.send(garden.post("hello"))


async def test_an_answer_without_end_is_given_up(garden: Garden) -> None:
    """Threat 17: an answer of more than 16 MiB is none."""
    garden.double.faults.append(Fault("POST posts", 201, "[" * 17_000_000))
    with pytest.raises(Uncertain):
        await garden.adapter.send(garden.post("hello"))

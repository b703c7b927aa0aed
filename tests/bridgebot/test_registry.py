"""Platforms by all the names people know them by, those that are gone, and their tools."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec import inspect

from bots import registry
from bridgebot.cli import cli
from core.giving import nothing_to_revoke
from tests.bridgebot.support import ROOT, call

PAGE = (ROOT / "docs" / "platforms" / "retired.md").read_text()
DATE = re.compile(r"\d{1,2} [A-Z][a-z]+ \d{4}|[A-Z][a-z]+ \d{4}")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the page."""
    part = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_has_every_service_that_is_gone() -> None:
    """Names, dates and ways on are the same on the page and in the table."""
    shown = {cells[1].strip("`"): cells for cells in rows("Services that are gone")}
    assert list(shown) == sorted(registry.RETIRED)
    for name, (story, instead) in registry.RETIRED.items():
        _, _, became, way = shown[name]
        assert all(date in became for date in DATE.findall(story)), name
        if instead:
            assert instead in way, name


def test_the_page_has_every_other_name() -> None:
    """Each alias is there with the platform that it stands for."""
    shown = {name.strip(" `"): cells[1].strip("`") for cells in rows("Other names") for name in cells[0].split(",")}
    assert shown == registry.ALIASES


def test_no_name_means_two_things() -> None:
    """No platform hides behind another's alias, and all names are written as they are looked up."""
    for name in [*registry.ALIASES, *registry.RETIRED]:
        assert re.fullmatch("[a-z0-9]+", name)
        assert name not in registry.PLATFORMS
    ways = {instead.partition(" ")[0] for _, instead in registry.RETIRED.values()} - {""}
    assert ways <= set(registry.PLATFORMS) | set(registry.ALIASES.values())


def test_every_platform_says_what_becomes_of_its_secrets() -> None:
    """Whoever asks for a secret revokes it at the end, or says where people do it."""
    for name in registry.names():
        platform = registry.platform(name)
        described = inspect.type_info(platform.config)
        assert isinstance(described, inspect.StructType)
        kinds = [field.type for field in described.fields]
        has_secrets = any(isinstance(kind, inspect.Metadata) and (kind.extra or {}).get("secret") for kind in kinds)
        assert has_secrets == (platform.revoke is not nothing_to_revoke), name


@pytest.mark.parametrize("typed", ["irc", "IRC", "browser", "Browser", "MS-Teams", "microsoft teams", "skype"])
def test_spelling_does_not_matter(typed: str) -> None:
    """Other names, capitals, dashes and blanks lead to the platform."""
    expected = "irc" if typed.lower() == "irc" else "web" if typed.lower() == "browser" else "teams"
    assert registry.platform(typed).id == expected


def test_an_alias_of_a_platform_that_is_not_there_is_no_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is as unknown as the platform itself."""
    monkeypatch.setitem(registry.ALIASES, "smoke", "signals")
    assert "smoke" not in registry.aliases()
    with pytest.raises(registry.UnknownPlatform, match="There is no platform 'smoke'"):
        registry.platform("smoke")


@pytest.mark.parametrize(("typed", "meant"), [("ircc", "irc"), ("hipcat", "hipchat"), ("Telegramm", "telegram")])
def test_a_typo_gets_a_suggestion(typed: str, meant: str) -> None:
    """The nearest name is told."""
    with pytest.raises(registry.UnknownPlatform, match=f"Did you mean {meant}[?]"):
        registry.platform(typed)


@pytest.mark.parametrize(
    "words", [("accounts", "add", "HipChat"), ("run", "--hipchat", "x"), ("bots", "--only", "hipchat")]
)
def test_a_service_that_is_gone_says_so(tmp_path: Path, words: tuple[str, ...]) -> None:
    """One line with what became of it, exit code 2, wherever it is named."""
    done = call(tmp_path, *words, env={"REDIS_URL": "redis://x", "SECRET_KEY": "x" * 64})
    story = registry.RETIRED["hipchat"][0]
    assert (done.returncode, done.stderr) == (2, f"Error: {story} Type: bridgebot accounts add slack\n")


@pytest.mark.parametrize("name", sorted(registry.RETIRED.keys() - registry.ALIASES.keys()))
def test_every_service_that_is_gone_is_told_in_one_line(name: str) -> None:
    """What became of it, and what to type to reach its people; never "there is no such platform"."""
    story, instead = registry.RETIRED[name]
    with pytest.raises(registry.RetiredPlatform) as told:
        registry.platform(name.title())
    assert str(told.value) == f"{story} Type: bridgebot accounts add {instead}".rstrip()
    assert "\n" not in story


def test_one_that_was_taken_over_is_told_and_goes_on(tmp_path: Path) -> None:
    """Skype is Teams today: a line about it, then the questions of Teams."""
    done = call(tmp_path, "accounts", "add", "skype")
    told, error = done.stderr.splitlines()
    assert told == registry.RETIRED["skype"][0]
    assert error.startswith("Error: Application (client) ID is needed.")


def test_accounts_add_alone_lists_the_platforms() -> None:
    """One line each, with what it will ask for."""
    lines = CliRunner().invoke(cli, ["accounts", "add"]).output.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == registry.names()
    assert any(line.startswith("telegram") and "asks for: Bot token" in line for line in lines)


def test_tools_of_platforms_are_listed_and_loaded_when_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The overview shows a tool's line although its module is not there; using one runs its command."""
    monkeypatch.setitem(registry.TOOLS, "demo-tool", ("no_module_of_this_name:command", "Makes a demo."))
    shown = CliRunner().invoke(cli, ["--help"]).output
    assert re.search(r"demo-tool +Makes a demo\.", shown)
    monkeypatch.setitem(registry.TOOLS, "demo-tool", ("tests.bridgebot.demo:tool", "Makes a demo."))
    assert CliRunner().invoke(cli, ["demo-tool", "--size", "3"]).output == "made 3\n"

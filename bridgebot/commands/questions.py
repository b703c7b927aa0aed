"""Asking the operator for an account's configuration: at the terminal, or line by line from a pipe."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, get_type_hints

import click
import msgspec
from msgspec import inspect

from bridgebot import process
from core.accounts import AccountError
from core.contract import Platform

MOST_FILE_BYTES = 1_000_000
_ADVICE: dict[type, str] = {
    inspect.BoolType: "Write yes or no.",
    inspect.IntType: "Write a whole number.",
    inspect.FloatType: "Write a number.",
}
_YES_NO = {"yes": "true", "y": "true", "on": "true", "no": "false", "n": "false", "off": "false"}


class Question(msgspec.Struct, frozen=True):
    """A field of a configuration that the operator is asked for."""

    name: str
    title: str
    hint: str
    secret: bool
    needed: bool
    type: Any
    """As annotated: what msgspec converts to."""
    kind: Any
    """The same as msgspec.inspect tells it, without the annotations."""


class Answers(Protocol):
    """Where answers come from."""

    can_ask_again: bool

    def answer(self, question: Question, *, kept: bool) -> str:
        """What is given for the question; empty: nothing. ``kept``: then the answer of before stands."""

    def complain(self, problem: str) -> None:
        """Say what is wrong with an answer. Raises AccountError where nobody can be asked again."""


def questions(config: type[msgspec.Struct]) -> list[Question]:
    """What is asked for a configuration: its fields with a title."""
    hints = get_type_hints(config, include_extras=True)
    found = []
    described = inspect.type_info(config)
    assert isinstance(described, inspect.StructType)  # noqa: S101 - the parameter's type says so
    for field in described.fields:
        if isinstance(field.type, inspect.Metadata) and (shown := field.type.extra_json_schema or {}).get("title"):
            secret = bool((field.type.extra or {}).get("secret"))
            title, hint = str(shown["title"]), str(shown.get("description") or "")
            found.append(Question(field.name, title, hint, secret, field.required, hints[field.name], field.type.type))
    return found


def read(question: Question, text: str, *, files: bool = True) -> Any:
    """The value that ``text`` stands for. Raises ValueError in plain words.

    A secret ``@path`` is the content of that file; ``@@`` begins a secret that really begins with ``@``. Without
    ``files`` it is taken as it is: who answers from elsewhere must not read the files of this machine.
    """
    given: Any = text.strip()
    if files and question.secret and given.startswith("@"):
        given = given[1:] if given.startswith("@@") else _content(given[1:])
    if isinstance(question.kind, inspect.BoolType):
        given = _YES_NO.get(given.lower(), given)
    elif isinstance(question.kind, inspect.CollectionType | inspect.VarTupleType):
        given = given.replace(",", " ").split()
    try:
        return msgspec.convert(given, question.type, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"{question.title} cannot be that: {error}. {_advice(question.kind)}".strip()) from None


def _advice(kind: Any) -> str:
    if isinstance(kind, inspect.LiteralType):
        return f"Write one of: {', '.join(map(str, kind.values))}."
    return _ADVICE.get(type(kind), "")


def _content(path: str) -> str:
    try:
        with Path(path).expanduser().open("rb") as file:
            data = file.read(MOST_FILE_BYTES + 1)
        if len(data) > MOST_FILE_BYTES:
            raise ValueError(f"The file {path} is too long to be a secret. Look at the path again.")
        return data.decode().strip()
    except OSError as error:
        raise ValueError(
            f"The file {path} cannot be read: {error.strerror}. (A secret that begins with @ is written with @@.)"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"The file {path} is not a text file. Look at the path again.") from None


def ask(platform: Platform, answers: Answers, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A value for every field that is answered; ``before``: what was answered the last time. Raises AccountError."""
    values: dict[str, Any] = {}
    for question in questions(platform.config):
        while True:
            kept = before is not None and question.name in before
            text = answers.answer(question, kept=kept)
            if not text and before is not None and kept:
                values[question.name] = before[question.name]
            elif text:
                try:
                    values[question.name] = read(question, text)
                except ValueError as error:
                    answers.complain(str(error))
                    continue
            elif question.needed:
                answers.complain(f"{question.title} is needed.{' ' if question.hint else ''}{question.hint}")
                continue
            break
    return values


def configuration(platform: Platform, answers: Answers, before: Mapping[str, Any] | None = None) -> Any:
    """The whole configuration, asked for as often as it takes to be a valid one. Raises AccountError."""
    while True:
        values = ask(platform, answers, before)
        try:
            # Converted as a whole, too: what fields must be together is checked there.
            return msgspec.convert(values, platform.config)
        except msgspec.ValidationError as error:
            answers.complain(str(error))
            before = values


class Terminal:
    """Asks a person; secrets are not shown."""

    can_ask_again = True

    def answer(self, question: Question, *, kept: bool) -> str:
        """One prompt; the hint stands above it."""
        notes = [question.hint] if question.hint else []
        notes += ["not shown; @FILE is the content of a file"] if question.secret else []
        notes += ["empty: as before"] if kept else [] if question.needed else ["may be empty"]
        if notes:
            click.secho("; ".join(notes), dim=True)
        given = click.prompt(question.title, default="", show_default=False, hide_input=question.secret)
        return str(given).strip()

    def complain(self, problem: str) -> None:
        """In a line of its own; the question comes again."""
        process.say(problem)


class Lines:
    """Reads standard input: one line for each question."""

    can_ask_again = False

    def answer(self, question: Question, *, kept: bool) -> str:
        """The next line; empty at the end."""
        return sys.stdin.readline().strip()

    def complain(self, problem: str) -> None:
        """Raises AccountError: the input is as it is."""
        raise AccountError(problem)

"""The commands, one module for each group of them."""

# Before anything else imports structlog: it keeps rich, which is only for terminals, out of long-running processes.
import core.logs  # noqa: F401

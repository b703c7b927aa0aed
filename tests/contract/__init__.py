"""One suite for every adapter in the registry."""

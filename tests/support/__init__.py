"""What tests of the core share: a whole relay in one process, on a real store."""

"""A chat service inside the harness that has what IRC lacks: edits, deletions, reactions, files, many rooms.

``service.py`` is the service, in the harness's own process. ``adapter.py`` is its platform for bridgebot, and
``python -m bench.chat`` is bridgebot with that platform. ``bare.py`` is the floor: a process that does nothing but hand
what it hears to where it belongs.
"""

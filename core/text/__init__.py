"""Text with meaning, as pure functions on :class:`core.model.Text`.

``ops``: build, cut, join, and put into plain words what a room cannot show. ``nesting``: the one form of a text
that formatters rely on. ``spans``: change words and keep the entities in place. ``split``: parts that fit.
``graphemes``: where a reader's characters end. ``safety``: names and words that cannot do harm.
``html``, ``markdown``: the two dialects that several platforms share.
"""

"""The web: portal pages, guest rooms, map, room pages, and the HTTP server of the adapters' webhooks."""

"""The WebSocket protocol: typed JSON frames at /v1/ws."""

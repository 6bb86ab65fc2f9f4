"""Everything that touches a socket: the HTTP client factory, stream framing, address rules, the request gate.

Must never know a model server's dialect; that is `backends`.
"""

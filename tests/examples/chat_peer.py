#!/usr/bin/env python3
"""A chat server in plain asyncio, to compare with: chat_peer.py

It speaks what examples/chat speaks, as far as chat-load needs it. Not a test.
"""

import asyncio
import struct

members = set()


def broadcast(text):
    data = struct.pack('!I', len(text)) + text
    for writer in members:
        writer.write(data)


async def serve(reader, writer):
    name = None
    try:
        while True:
            size, = struct.unpack('!I', await reader.readexactly(4))
            body = await reader.readexactly(size)
            if name is None:
                name = body
                members.add(writer)
                broadcast(b'* ' + name + b' joined')
            else:
                broadcast(name + b': ' + body)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        members.discard(writer)
        writer.close()


async def main():
    server = await asyncio.start_server(serve, '127.0.0.1', 0)
    print('listening on {}:{}'.format(*server.sockets[0].getsockname()), flush=True)
    await server.serve_forever()

if __name__ == '__main__':
    asyncio.run(main())

"""The streams of a session: which message goes where, and what can go on."""

from mcpnatsd.frontends.gateway.streams import Stream, Streams
from mcpnatsd.protocol.event_stream import EventId, EventStore

PROGRESS = (
    b'{"jsonrpc":"2.0","method":"notifications/progress",'
    b'"params":{"progressToken":"t","progress":1}}'
)
ANSWER = b'{"jsonrpc":"2.0","id":1,"result":{}}'


def streams_of(most_events: int = 8) -> Streams:
    return Streams(EventStore(1 << 20, most_events))


def behind(streams: Streams, stream: Stream, number: int) -> Stream | None:
    return streams.find(EventId(stream.id, number))


def test_progress_goes_to_the_newest_request_with_its_token_after_an_older_one_ended() -> None:
    streams = streams_of()
    first, second = streams.open(1, "t"), streams.open(2, "t")
    streams.settle(1, ANSWER)
    streams.route(PROGRESS)

    assert (first.last, second.last, streams.unrelated.last) == (0, 1, 0)
    streams.settle(2, ANSWER)
    streams.route(PROGRESS)
    assert (second.last, streams.unrelated.last) == (2, 1)


def test_a_stream_goes_on_only_where_nothing_of_it_is_missing() -> None:
    streams = streams_of(most_events=2)
    stream = streams.open(1, "t")
    streams.start(stream)
    for _ in range(4):
        streams.route(PROGRESS)

    assert [behind(streams, stream, number) for number in range(6)] == [
        None, None, stream, stream, stream, None,
    ]  # fmt: skip
    assert streams.find(EventId("x", 0)) is None

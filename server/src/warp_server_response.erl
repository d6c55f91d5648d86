%% @private The answer to a request by HTTP, sent as the client takes it.
-module(warp_server_response).

-export([new/2, whole/4, first/3, more/2, last/2, abort/1]).
-export([push/2, taken/2, is_taking/1]).

-export_type([response/0]).

-record(response, {
    channel :: warp_server_frame:channel(),
    writer :: warp_server_writer:writer(),
    window = warp_server_window:new() :: warp_server_window:window()
}).
-opaque response() :: #response{}.

-define(PIECE_BYTES, 65536).
%% How long a client may take no bytes. The gateway ends it earlier.
-define(SILENT_MS, 600000).

%% @doc The answer of a channel, whose process calls all of these functions.
-spec new(warp_server_frame:channel(), warp_server_writer:writer()) -> response().
new(Channel, Writer) -> #response{channel = Channel, writer = Writer}.

%% @doc Sends all of an answer, and waits until it is on its way.
-spec whole(Status :: 100..599, [{binary(), iodata()}], iodata(), response()) -> ok.
whole(Status, Headers, Content, #response{channel = Channel, writer = Writer} = Response) ->
    case iolist_size(Content) of
        Size when Size =< ?PIECE_BYTES ->
            warp_server_writer:send(Writer, warp_server_frame:head(Channel, Status, last, Headers, Content));
        _ ->
            last(Content, first(Status, Headers, Response))
    end.

%% @doc Sends the head of an answer whose body follows.
-spec first(Status :: 100..599, [{binary(), iodata()}], response()) -> response().
first(Status, Headers, #response{channel = Channel, writer = Writer} = Response) ->
    ok = warp_server_writer:send(Writer, warp_server_frame:head(Channel, Status, more, Headers, <<>>)),
    Response.

%% @doc Sends a part of the body, and waits until it is on its way; or `closed', when the client is gone.
-spec more(iodata(), response()) -> {ok, response()} | closed.
more(Content, Response) ->
    on_its_way(so_far(push(Content, Response))).

%% @doc Sends the last part of the body, and waits until it is on its way.
-spec last(iodata(), response()) -> ok.
last(Content, #response{channel = Channel} = Response) ->
    _ = on_its_way(so_far(queued(pieces(iolist_to_binary(Content), last, Channel), Response))),
    ok.

%% @doc Sends a part of the body and does not wait: the process takes the messages `{taken, Bytes}', and `closed'.
-spec push(iodata(), response()) -> response().
push(Content, #response{channel = Channel} = Response) ->
    queued(pieces(iolist_to_binary(Content), more, Channel), Response).

%% @doc The client has taken so much of the body.
-spec taken(binary(), response()) -> response().
taken(<<Bytes:32>>, #response{window = Window} = Response) ->
    sent(warp_server_window:taken(Bytes, Window), Response).

%% @doc Whether the client takes what is sent, so that nothing waits here.
-spec is_taking(response()) -> boolean().
is_taking(#response{window = Window}) -> warp_server_window:is_empty(Window).

%% @doc The body cannot be finished.
-spec abort(response()) -> ok.
abort(#response{channel = Channel, writer = Writer}) ->
    warp_server_writer:send(Writer, warp_server_frame:abort(Channel)).

pieces(<<Piece:?PIECE_BYTES/binary, Rest/binary>>, Place, Channel) when Rest =/= <<>> ->
    [{?PIECE_BYTES, warp_server_frame:data(Channel, more, Piece)} | pieces(Rest, Place, Channel)];
pieces(<<>>, more, _Channel) ->
    [];
pieces(Last, Place, Channel) ->
    [{byte_size(Last), warp_server_frame:data(Channel, Place, Last)}].

queued(Pieces, #response{window = Window} = Response) ->
    sent(warp_server_window:put(Pieces, Window), Response).

sent({Frames, Window}, #response{writer = Writer} = Response) ->
    ok = lists:foreach(fun(Frame) -> warp_server_writer:send(Writer, Frame) end, Frames),
    Response#response{window = Window}.

%% What the client has taken since.
so_far(Response) ->
    receive
        {taken, Bytes} -> so_far(taken(Bytes, Response))
    after 0 -> Response
    end.

on_its_way(Response) ->
    case is_taking(Response) of
        true -> {ok, Response};
        false ->
            receive
                {taken, Bytes} -> on_its_way(taken(Bytes, Response));
                closed -> closed
            after ?SILENT_MS -> closed
            end
    end.

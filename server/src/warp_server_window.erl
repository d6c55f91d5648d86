%% @private How much of a channel's bytes may be on their way to the gateway, and what waits. Pure.
-module(warp_server_window).

-export([new/0, put/2, taken/2, is_empty/1]).

-export_type([window/0, piece/0]).

-record(window, {
    %% Bytes that were sent and not taken yet.
    sent = 0 :: non_neg_integer(),
    waiting = queue:new() :: queue:queue(piece())
}).
-opaque window() :: #window{}.
%% The frame of so many bytes.
-type piece() :: {Bytes :: pos_integer(), Frame :: iodata()}.

%% How many bytes the gateway holds of one channel.
-define(BYTES, (256 * 1024)).

-spec new() -> window().
new() -> #window{}.

%% @doc Takes pieces, of at most 64 KiB each, and gives the frames that can be sent now.
-spec put([piece()], window()) -> {Frames :: [iodata()], window()}.
put(Pieces, #window{waiting = Waiting} = Window) ->
    next(Window#window{waiting = lists:foldl(fun queue:in/2, Waiting, Pieces)}, []).

%% @doc The gateway has taken so many bytes.
-spec taken(non_neg_integer(), window()) -> {Frames :: [iodata()], window()}.
taken(Bytes, #window{sent = Sent} = Window) ->
    next(Window#window{sent = max(0, Sent - Bytes)}, []).

next(#window{sent = Sent, waiting = Waiting} = Window, Frames) ->
    case queue:peek(Waiting) of
        {value, {Bytes, Frame}} when Sent + Bytes =< ?BYTES ->
            next(Window#window{sent = Sent + Bytes, waiting = queue:drop(Waiting)}, [Frame | Frames]);
        _ ->
            {lists:reverse(Frames), Window}
    end.

%% @doc Whether nothing waits to be sent.
-spec is_empty(window()) -> boolean().
is_empty(#window{waiting = Waiting}) -> queue:is_empty(Waiting).

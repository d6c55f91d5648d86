%% @private What a projector waits for, and for how long already. It looks once in a second. Pure.
-module(warp_projection_watch).

-export([new/0, look/2, tick_ms/0, call_seconds/0]).

-export_type([watch/0, wait/0]).

%% What it waits for, and something that tells one wait from another of that kind.
-type wait() ::
    {calling, warp_projection_user_code:where()}
    | {reading | writing | joining | paused, term()}.
-opaque watch() :: none | {wait(), Looks :: non_neg_integer()}.

-define(TICK_MS, 1000).
%% How many times the same call of the user's code is found before it is ended, and after how many looks
%% the status says that the projector stands still. The first look at something is not counted.
-define(CALL_TICKS, 10).
-define(STILL_TICKS, 3).

-spec new() -> watch().
new() -> none.

%% @doc How often to look.
-spec tick_ms() -> pos_integer().
tick_ms() -> ?TICK_MS.

%% @doc How long a call of the user's code may take.
-spec call_seconds() -> pos_integer().
call_seconds() -> ?CALL_TICKS * ?TICK_MS div 1000.

%% @doc Looks once more. `{overdue, Where, Why}': a call of the user's code takes too long.
-spec look(wait() | nothing, watch()) ->
    {fine | {stalled, Why} | {overdue, warp_projection_user_code:where(), Why}, watch()}
    when Why :: reading | writing | joining | paused | {calling, warp_projection_user_code:kind(), map()}.
look(nothing, _Watch) ->
    {fine, none};
look(Wait, Watch) ->
    Looks = case Watch of {Wait, Before} -> Before + 1; _ -> 0 end,
    {verdict(Wait, Looks), {Wait, Looks}}.

verdict({calling, Where} = Wait, Looks) when Looks >= ?CALL_TICKS -> {overdue, Where, why(Wait)};
verdict(Wait, Looks) when Looks >= ?STILL_TICKS -> {stalled, why(Wait)};
verdict(_Wait, _Looks) -> fine.

why({calling, {Position, Seq, Kind, _}}) -> {calling, Kind, #{position => Position, seq => Seq}};
why({Kind, _}) -> Kind.

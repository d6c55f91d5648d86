%% What `warp_power_SUITE' does to logs, and what has to be in them after a loss of power: singles and batches of
%% entities that are kept, whose times are corrected now and then, and other entities, which are deleted.
-module(warp_power_logs).

-export([aggregates/0, fill/3, work/3, wrong/2]).

-define(ROUNDS, 25).
%% Enough for the journal to use a segment again.
-define(LARGE, 40).
-define(LARGE_BYTES, 3000).

aggregates() -> [counter()].

%% The Nth event of an entity holds N.
counter() ->
    #{name => <<"Counter">>, initial_state => 0, apply => fun(_, #{payload := #{<<"n">> := N}}) -> N end}.

event(N) -> event(N, rand:uniform(900)).

event(N, Bytes) ->
    #{aggregate => <<"Counter">>, type => <<"Counted">>, payload => #{n => N, filler => binary:copy(<<"x">>, Bytes)}}.

%% Large events, while nothing is deleted: a deletion removes the segment that could be used again.
-spec fill(warp_core:ctx(), warp_power:say(), binary()) -> ok.
fill(Ctx, Say, Caller) ->
    Entity = warp_core:entity(Ctx, <<"large-", Caller/binary>>),
    lists:foreach(fun(N) ->
        {ok, N} = warp_core:append(Entity, event(N, ?LARGE_BYTES)),
        ok = Say([<<"large">>, Caller, integer_to_binary(N)]),
        timer:sleep(10)
    end, lists:seq(1, ?LARGE)).

-spec work(warp_core:ctx(), warp_power:say(), binary()) -> ok.
work(Ctx, Say, Caller) -> work(lists:seq(1, ?ROUNDS), 0, Ctx, Say, Caller).

work([], _N, _Ctx, _Say, _Caller) ->
    ok;
work([Round | Rounds], N, Ctx, Say, Caller) ->
    Entity = warp_core:entity(Ctx, <<"kept-", Caller/binary>>),
    {ok, Seq} = warp_core:append(Entity, event(N + 1)),
    ok = Say([<<"kept">>, Caller, integer_to_binary(Seq)]),
    {ok, {_, Last}} = warp_core:append_batch(Entity, [event(N + 1 + I) || I <- lists:seq(1, 4)]),
    ok = Say([<<"kept">>, Caller, integer_to_binary(Last)]),
    _ = [ok = warp_core:correct_time(Entity, Last, erlang:system_time(microsecond)) || Round rem 3 =:= 0],
    Gone = <<"gone-", Caller/binary, $-, (integer_to_binary(Round div 5))/binary>>,
    {ok, _} = warp_core:append(warp_core:entity(Ctx, Gone), event(1)),
    _ = [begin
             ok = warp_core:delete(warp_core:entity(Ctx, Gone)),
             ok = Say([<<"gone">>, Gone])
         end || Round rem 5 =:= 4],
    work(Rounds, Last, Ctx, Say, Caller).

%% What is not as it was said.
-spec wrong(warp_core:ctx(), [[binary()]]) -> [term()].
wrong(Ctx, Said) ->
    Last = maps:from_list([{<<What/binary, $-, Caller/binary>>, binary_to_integer(Seq)}
                           || [What, Caller, Seq] <- Said, What =:= <<"kept">> orelse What =:= <<"large">>]),
    [Why || {Id, Seq} <- maps:to_list(Last), Why <- kept(Ctx, Id, Seq)]
        ++ [{not_gone, Gone} || [<<"gone">>, Gone] <- Said,
                                warp_core:export(warp_core:entity(Ctx, Gone)) =/= {ok, []}].

%% More may be there than was acknowledged.
kept(Ctx, Id, Seq) ->
    Entity = warp_core:entity(Ctx, Id),
    case warp_core:export(Entity) of
        {ok, Events} ->
            Ns = [N || #{payload := #{<<"n">> := N}} <- Events],
            Last = length(Ns),
            [{lost, Id, Seq, Last} || Last < Seq] ++ [{other_events, Id, Ns} || Ns =/= lists:seq(1, Last)]
                ++ [{half_a_batch, Id, Last} || <<"kept-", _/binary>> <- [Id], Last rem 5 > 1]
                ++ [{wrong_state, Id} || warp_core:get(Entity, <<"Counter">>) =/= {ok, Last}];
        {error, Reason} ->
            [{unreadable, Id, Reason}]
    end.

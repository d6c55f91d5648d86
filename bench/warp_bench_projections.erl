%% Projections: how fast events become rows, how far rows are behind under a steady load, and how
%% fast a rebuild is. On the embedded target, and on one local rqlite where there is an rqlited.
-module(warp_bench_projections).

-export([projections/1]).

-define(LOAD_PER_SECOND, 20000).

-spec projections(map()) -> ok.
projections(Options) ->
    lists:foreach(fun(Target) -> of_target(Target, Options) end, targets()).

%% Each figure starts with an empty target.
targets() ->
    [{"embedded", fun(Measure) -> Measure(embedded) end}
     | case warp_bench_rqlite:missing() of
           false -> [{"rqlite", fun on_rqlite/1}];
           Why -> io:format("~n~ts~n", [Why]), []
       end].

on_rqlite(Measure) ->
    {Node, Config} = warp_bench_rqlite:start(),
    Measured = Measure({rqlite, Config}),
    ok = warp_bench_rqlite:stop(Node),
    Measured.

of_target({Name, With}, #{seconds := Seconds, shards := Shards, dir := Dir}) ->
    warp_bench_run:title(["to ", Name, ", a row per entity"], ["events/s", "took"]),
    Entities = 10000,
    Count = 60000 * Seconds,
    Write = fun(Context, How) -> filled(Dir, Context, Shards, Entities, Count, How) end,
    _ = file:del_dir_r(Dir),
    lists:foreach(
        fun({Title, Context, How}) ->
            ok = Write(Context, How),
            ok = With(fun(Target) ->
                {Took, Ctx} = caught_up(Dir, Context, Shards, Target),
                say(Title, Count, Took),
                case How of
                    batches -> rebuilt(Ctx, Count);
                    _ -> ok
                end,
                warp_core:stop(Ctx)
            end),
            _ = file:del_dir_r(filename:join(Dir, Context))
        end,
        [{"singles, entities in turn", <<"singles">>, singles},
         {"batches of 100", <<"batches">>, batches},
         {"a row for each event", <<"rows">>, rows}]),
    ok = With(fun(Target) -> lag(Name, Dir, Shards, Target, Seconds) end).

filled(Dir, Context, Shards, Entities, Count, How) ->
    {ok, Ctx} = warp_core:start(options(Dir, Context, Shards, none)),
    {Each, Callers} = case How of singles -> {1, 1000}; _ -> {100, 64} end,
    Rounds = Count div Each div Callers,
    Self = self(),
    Pids = [spawn_link(fun() ->
                [append(Ctx, (Caller * 7919 + Round * Callers) rem Entities, Each)
                 || Round <- lists:seq(1, Rounds)],
                Self ! {done, self()}
            end) || Caller <- lists:seq(1, Callers)],
    _ = [receive {done, Pid} -> ok end || Pid <- Pids],
    warp_core:stop(Ctx).

append(Ctx, N, Each) ->
    Entity = warp_core:entity(Ctx, <<"acct-", (integer_to_binary(N))/binary>>),
    {ok, _} = warp_core:append_batch(Entity, [warp_bench_run:event(I) || I <- lists:seq(1, Each)],
                                     #{timeout => infinity}).

options(Dir, Context, Shards, Target) ->
    #{context => Context, data_dir => Dir, shards => Shards, projections => Target,
      aggregates => [(warp_bench_run:ledger())#{project => case Context of
                                                               <<"rows">> -> fun project_each/3;
                                                               _ -> fun project/3
                                                           end}]}.

project(Id, #{balance := Balance, entries := Entries}, #{payload := #{<<"from">> := From}}) ->
    [warp_projection:upsert(<<"accounts">>, Id,
                            #{<<"balance">> => Balance, <<"entries">> => Entries, <<"last">> => From})].

%% Nothing that later events would make needless.
project_each(Id, #{balance := Balance}, #{seq := Seq, payload := #{<<"from">> := From}}) ->
    [warp_projection:upsert(<<"entries">>, <<Id/binary, "/", (integer_to_binary(Seq))/binary>>,
                            #{<<"account">> => Id, <<"balance">> => Balance, <<"from">> => From})].

caught_up(Dir, Context, Shards, Target) ->
    Start = erlang:monotonic_time(),
    {ok, Ctx} = warp_core:start(options(Dir, Context, Shards, Target)),
    ok = until_even(Ctx),
    {erlang:monotonic_time() - Start, Ctx}.

until_even(Ctx) ->
    case warp_projection:status(Ctx) of
        {ok, #{behind_positions := 0, state := up, shards := [_ | _] = Shards}} ->
            case lists:all(fun(#{position := P, log_position := L}) -> P =:= L end, Shards) of
                true -> ok;
                false -> timer:sleep(10), until_even(Ctx)
            end;
        {ok, _} ->
            timer:sleep(10),
            until_even(Ctx)
    end.

rebuilt(Ctx, Count) ->
    Start = erlang:monotonic_time(),
    ok = warp_projection:rebuild(Ctx),
    ok = warp_projection:await_rebuild(Ctx, infinity),
    say("the same, rebuilt", Count, erlang:monotonic_time() - Start).

say(Title, Count, Took) ->
    Micros = erlang:convert_time_unit(Took, native, microsecond),
    Rate = Count * 1000000 / Micros,
    warp_bench_run:row(Title, {per_second, Rate}, [warp_bench_run:rate(Rate), warp_bench_run:micros(Micros)]).

%% Under a steady load, how long after its acknowledgement an event shows.
lag(Name, Dir, Shards, Target, Seconds) ->
    {ok, Ctx} = warp_core:start(options(Dir, <<"lag">>, Shards, Target)),
    Load = spawn_link(fun() -> load(Ctx, erlang:monotonic_time(microsecond), 0) end),
    timer:sleep(1000),
    Until = erlang:monotonic_time(millisecond) + Seconds * 1000,
    Lags = lists:sort(samples(Ctx, Until, 0, [])),
    true = unlink(Load),
    true = exit(Load, kill),
    At = fun(Share) -> lists:nth(max(1, round(Share * length(Lags))), Lags) end,
    warp_bench_run:title(io_lib:format("~ts, behind, at ~b/s", [Name, ?LOAD_PER_SECOND]), ["p50", "p99"]),
    warp_bench_run:row("acknowledged to visible", {micros, At(0.5)},
                       [warp_bench_run:micros(At(0.5)), warp_bench_run:micros(At(0.99))]),
    ok = until_even(Ctx),
    ok = warp_core:stop(Ctx).

%% 200 appends of 10 events each tenth of a second.
load(Ctx, Start, Round) ->
    Self = self(),
    Pids = [spawn_link(fun() -> append(Ctx, (Round * 200 + N) rem 10000, 10), Self ! {done, self()} end)
            || N <- lists:seq(1, ?LOAD_PER_SECOND div 100)],
    _ = [receive {done, Pid} -> ok end || Pid <- Pids],
    Next = Start + (Round + 1) * 100000,
    timer:sleep(max(0, (Next - erlang:monotonic_time(microsecond)) div 1000)),
    load(Ctx, Start, Round + 1).

samples(Ctx, Until, N, Lags) ->
    case erlang:monotonic_time(millisecond) >= Until of
        true ->
            Lags;
        false ->
            Entity = warp_core:entity(Ctx, <<"sample-", (integer_to_binary(N rem 100))/binary>>),
            {ok, _} = warp_core:append(Entity, warp_bench_run:event(N), #{timeout => infinity}),
            Start = erlang:monotonic_time(microsecond),
            ok = warp_core:await_projection(Entity, infinity),
            Lag = erlang:monotonic_time(microsecond) - Start,
            timer:sleep(2),
            samples(Ctx, Until, N + 1, [Lag | Lags])
    end.

%% Warp in a VM of its own: callers are processes of that VM. The functions below the line run there.
-module(warp_peers_warp).
-behaviour(warp_peer).

-export([open/4, close/1, fill/2, measure/4, memory_per_event/0]).
-export([start/1, stop/0, filled/1, measured/2]).

-import(warp_bench_run, [callers/3, event/1]).

-define(BATCH, 500).
-define(ACCOUNTS, 1000).

open({Kind, Shards}, Store, Dir, Env) ->
    Vm = warp_peers_vm:open(Env),
    Options = maps:merge(#{context => <<"bench">>, data_dir => Dir, shards => Shards,
                           aggregates => [case Kind of
                                              warp -> warp_bench_run:ledger();
                                              warp_log -> warp_bench_run:log()
                                          end]},
                         snapshots(Store)),
    Took = warp_peers_vm:call(Vm, ?MODULE, start, [Options]),
    #{vm => Vm, dir => Dir, start_ms => Took}.

%% A read of the whole log is what is compared.
snapshots({victims, _, _, _}) -> #{snapshot_every => 1 bsl 40};
snapshots(_) -> #{}.

close(#{vm := Vm}) ->
    ok = warp_peers_vm:call(Vm, ?MODULE, stop, []),
    warp_peers_vm:close(Vm).

fill(#{vm := Vm}, Store) ->
    warp_peers_vm:call(Vm, ?MODULE, filled, [Store]).

memory_per_event() -> 0.

measure(#{start_ms := Ms}, start, _, _) -> Ms;
measure(#{vm := Vm}, memory, _, _) -> warp_peers_vm:memory(Vm);
measure(#{dir := Dir}, bytes, {filled, Events, _}, _) -> warp_peers_os:bytes(Dir) / Events;
measure(#{vm := Vm}, Op, _, #{seconds := Seconds}) -> warp_peers_vm:call(Vm, ?MODULE, measured, [Op, Seconds]).

%% ----------------------------------------------------------------------------------------------------------------

start(Options) ->
    {ok, _} = application:ensure_all_started(warp_core),
    ok = warp_peers_vm:loaded(warp_core),
    {Took, {ok, Ctx}} = timer:tc(fun() -> warp_core:start(Options) end),
    persistent_term:put(?MODULE, Ctx),
    Took / 1000.

stop() ->
    warp_core:stop(persistent_term:get(?MODULE)).

filled({filled, Events, Each}) ->
    fill_batches(Events, Each);
filled({victims, Events, Each, Victims}) ->
    ok = in_parallel([fun() -> [append(entity("victim", V), event(I)) || I <- lists:seq(1, Each)] end
                      || V <- lists:seq(1, Victims + 20)]),
    fill_batches(Events, Each).

%% A batch for each entity in turn.
fill_batches(Events, Each) ->
    Batch = [event(I) || I <- lists:seq(1, ?BATCH)],
    Entities = [entity("old", N) || N <- lists:seq(0, Events div Each - 1)],
    Rounds = lists:seq(1, Each div ?BATCH),
    in_parallel([fun() -> [append_batch(E, Batch) || _ <- Rounds, E <- Some] end || Some <- dealt(Entities, 16)]).

dealt(List, Hands) ->
    Numbered = lists:zip(lists:seq(1, length(List)), List),
    [[Item || {N, Item} <- Numbered, N rem Hands =:= Hand] || Hand <- lists:seq(0, Hands - 1)].

in_parallel(Funs) ->
    Self = self(),
    Pids = [spawn_link(fun() -> _ = Fun(), Self ! {done, self()} end) || Fun <- Funs],
    lists:foreach(fun(Pid) -> receive {done, Pid} -> ok end end, Pids).

append(Entity, Event) ->
    {ok, _} = warp_core:append(Entity, Event, #{timeout => infinity}).

%% Batches can come faster than the disk takes them. Whoever is told so tries again.
append_batch(Entity, Events) ->
    case warp_core:append_batch(Entity, Events, #{timeout => infinity}) of
        {ok, _} ->
            ok;
        {error, overloaded} ->
            timer:sleep(1),
            append_batch(Entity, Events)
    end.

entity(Kind, N) ->
    warp_core:entity(persistent_term:get(?MODULE), iolist_to_binary([Kind, $-, integer_to_list(N)])).

measured({read, N}, _) ->
    {Took, {ok, #{entries := _}}} = timer:tc(fun() -> warp_core:get(entity("victim", N), <<"Ledger">>) end),
    Took / 1000;
measured({delete, N}, _) ->
    {Took, ok} = timer:tc(fun() -> warp_core:delete(entity("victim", N), #{timeout => infinity}) end),
    Took / 1000;
measured({transfers, Callers}, Seconds) ->
    Ctx = persistent_term:get(?MODULE),
    Tag = warp_peers_load:tag(),
    rate(Callers, Seconds, fun(Caller, Round) ->
        From = rand:uniform(?ACCOUNTS),
        To = 1 + (From + rand:uniform(?ACCOUNTS - 1) - 1) rem ?ACCOUNTS,
        New = warp_saga:new(iolist_to_binary([Tag, $-, integer_to_list(Caller), $-, integer_to_list(Round)])),
        Saga = lists:foldl(fun step/2, New, [{From, <<"Debited">>, -5}, {To, <<"Credited">>, 5}]),
        {ok, {committed, _}} = warp_saga:commit(Saga, Ctx)
    end);
measured({Kind, Callers}, Seconds) ->
    Tag = warp_peers_load:tag(),
    Entities = list_to_tuple([entity(Tag, N) || N <- lists:seq(1, warp_peers_load:entities())]),
    %% All entities are in memory before anything counts, as PostgreSQL's connections are warm.
    ok = in_parallel([fun() -> [append(E, event(1)) || E <- Some] end || Some <- dealt(tuple_to_list(Entities), 100)]),
    case Kind of
        singles ->
            rate(Callers, Seconds, fun(Caller, Round) ->
                append(element(warp_peers_load:turn(Caller, Round, Callers), Entities), event(Round))
            end);
        batches ->
            Batch = [event(I) || I <- lists:seq(1, ?BATCH)],
            ?BATCH * rate(Callers, Seconds, fun(Caller, Round) ->
                append_batch(element(warp_peers_load:turn(Caller, Round, Callers), Entities), Batch)
            end);
        mix ->
            Drawn = warp_peers_load:zipf(),
            rate(Callers, Seconds, fun(Caller, Round) ->
                Entity = element(warp_peers_load:drawn(Caller, Round, Drawn), Entities),
                case Round rem 5 of
                    0 -> append(Entity, event(Round));
                    _ -> {ok, _} = warp_core:get(Entity, <<"Ledger">>)
                end
            end)
    end.

step({Account, Type, Amount}, Saga) ->
    warp_saga:step(Saga, #{entity => iolist_to_binary(["account-", integer_to_list(Account)]),
                           aggregate => <<"Ledger">>,
                           forward => #{type => Type, payload => #{<<"amount">> => Amount}},
                           compensate => #{type => <<"Reversed">>, payload => #{<<"amount">> => -Amount}}}).

rate(Callers, Seconds, Fun) ->
    {Rate, _, _} = callers(Callers, Seconds, Fun),
    Rate.

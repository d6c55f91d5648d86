%% Mnesia in a VM of its own: one ordered table with a record for each event, disc_copies, sync_transaction. That alone
%% leaves a commit in the operating system's cache; mnesia:sync_log/0 makes it durable, and concurrent calls share one.
%% The functions below the line run in that VM.
-module(warp_peers_mnesia).
-behaviour(warp_peer).

-export([open/4, close/1, fill/2, measure/4, memory_per_event/0]).
-export([start/2, stop/0, filled/1, measured/2]).

-define(PAYLOAD, #{<<"amount">> => 5, <<"from">> => <<"acct-00001234">>, <<"ok">> => true}).
-define(BATCH, 500).
-define(ACCOUNTS, 1000).
-define(TABLES, [events, states, accounts, transfers]).

open(Subject, _, Dir, Env) ->
    Vm = warp_peers_vm:open(Env),
    Took = warp_peers_vm:call(Vm, ?MODULE, start, [Dir, Subject =:= mnesia]),
    #{vm => Vm, dir => Dir, start_ms => Took}.

close(#{vm := Vm}) ->
    ok = warp_peers_vm:call(Vm, ?MODULE, stop, []),
    warp_peers_vm:close(Vm).

fill(#{vm := Vm}, Store) ->
    warp_peers_vm:call(Vm, ?MODULE, filled, [Store]).

memory_per_event() -> 450.

measure(#{start_ms := Ms}, start, _, _) -> Ms;
measure(#{vm := Vm}, memory, _, _) -> warp_peers_vm:memory(Vm);
measure(#{dir := Dir}, bytes, {filled, Events, _}, _) -> warp_peers_os:bytes(Dir) / Events;
measure(#{vm := Vm}, Op, _, #{seconds := Seconds}) -> warp_peers_vm:call(Vm, ?MODULE, measured, [Op, Seconds]).

%% ----------------------------------------------------------------------------------------------------------------

start(Dir, Synced) ->
    persistent_term:put(?MODULE, Synced),
    %% It warns of being overloaded while it is filled.
    ok = logger:set_primary_config(level, error),
    ok = application:load(mnesia),
    ok = application:set_env(mnesia, dir, Dir),
    %% The defaults dump the log so often that it warns of being overloaded.
    ok = application:set_env(mnesia, dump_log_write_threshold, 50000),
    New = not filelib:is_regular(filename:join(Dir, "schema.DAT")),
    _ = [ok = mnesia:create_schema([node()]) || New],
    ok = warp_peers_vm:loaded(mnesia),
    {Took, ok} = timer:tc(fun() ->
        ok = mnesia:start(),
        _ = [ok = created(Table) || New, Table <- ?TABLES],
        mnesia:wait_for_tables(?TABLES, infinity)
    end),
    Took / 1000.

created(Table) ->
    Type = case Table of events -> ordered_set; _ -> set end,
    Attributes = case Table of events -> [key, type, payload]; _ -> [key, value] end,
    {atomic, ok} = mnesia:create_table(Table, [{disc_copies, [node()]}, {type, Type}, {attributes, Attributes}]),
    ok.

stop() ->
    stopped = mnesia:stop(),
    ok.

filled({filled, Events, Each}) ->
    fill_rows("old", 0, Events div Each - 1, Each);
filled({victims, Events, Each, Victims}) ->
    ok = fill_rows("victim", 1, Victims, Each),
    fill_rows("old", 0, Events div Each - 1, Each).

fill_rows(Kind, First, Last, Each) ->
    _ = [ok = mnesia:dirty_write({events, {name(Kind, N), Seq}, <<"Credited">>, ?PAYLOAD})
         || N <- lists:seq(First, Last), Seq <- lists:seq(1, Each)],
    dumped = mnesia:dump_log(),
    ok.

name(Kind, N) ->
    iolist_to_binary([Kind, $-, integer_to_list(N)]).

commit(Fun) ->
    {atomic, Result} = mnesia:sync_transaction(Fun),
    case persistent_term:get(?MODULE) of
        true -> ok = mnesia:sync_log();
        false -> ok
    end,
    Result.

write(Name, Seq) ->
    mnesia:write({events, {Name, Seq}, <<"Credited">>, ?PAYLOAD}).

rows(N) ->
    mnesia:dirty_select(events, [{{events, {name("victim", N), '_'}, '_', '_'}, [], ['$_']}]).

measured({read, N}, _) ->
    {Took, [_ | _]} = timer:tc(fun() -> rows(N) end),
    Took / 1000;
measured({delete, N}, _) ->
    {Took, _} = timer:tc(fun() ->
        commit(fun() -> [ok = mnesia:delete({events, Key}) || {events, Key, _, _} <- rows(N)] end)
    end),
    Took / 1000;
measured({transfers, Callers}, Seconds) ->
    _ = [ok = mnesia:dirty_write({accounts, N, 0}) || N <- lists:seq(1, ?ACCOUNTS)],
    rate(Callers, Seconds, fun(Caller, Round) ->
        From = rand:uniform(?ACCOUNTS),
        To = 1 + (From + rand:uniform(?ACCOUNTS - 1) - 1) rem ?ACCOUNTS,
        commit(fun() ->
            _ = [ok = moved(Account, Amount) || {Account, Amount} <- lists:sort([{From, -5}, {To, 5}])],
            mnesia:write({transfers, {Caller, Round}, {From, To, 5}})
        end)
    end);
measured({Kind, Callers}, Seconds) ->
    Tag = warp_peers_load:tag(),
    Entities = warp_peers_load:entities(),
    Names = list_to_tuple([name(Tag, N) || N <- lists:seq(1, Entities)]),
    Name = fun(Caller, Round) -> element(warp_peers_load:turn(Caller, Round, Callers), Names) end,
    Turns = Entities div Callers,
    case Kind of
        singles ->
            rate(Callers, Seconds, fun(Caller, Round) ->
                commit(fun() -> write(Name(Caller, Round), 1 + Round div Turns) end)
            end);
        batches ->
            ?BATCH * rate(Callers, Seconds, fun(Caller, Round) ->
                Before = Round div Turns * ?BATCH,
                commit(fun() -> [ok = write(Name(Caller, Round), Before + I) || I <- lists:seq(1, ?BATCH)] end)
            end);
        mix ->
            _ = [ok = mnesia:dirty_write({states, N, {0, 0}}) || N <- tuple_to_list(Names)],
            Drawn = warp_peers_load:zipf(),
            rate(Callers, Seconds, fun(Caller, Round) ->
                Of = element(warp_peers_load:drawn(Caller, Round, Drawn), Names),
                case Round rem 5 of
                    0 -> commit(fun() -> added(Of) end);
                    _ -> [{states, _, _}] = mnesia:dirty_read(states, Of)
                end
            end)
    end.

%% Locks the record before it reads it.
moved(Account, Amount) ->
    [{accounts, _, Balance}] = mnesia:read(accounts, Account, write),
    mnesia:write({accounts, Account, Balance + Amount}).

added(Name) ->
    [{states, _, {Seq, Balance}}] = mnesia:read(states, Name, write),
    ok = mnesia:write({states, Name, {Seq + 1, Balance + 5}}),
    write(Name, Seq + 1).

rate(Callers, Seconds, Fun) ->
    {Rate, _, _} = warp_bench_run:callers(Callers, Seconds, Fun),
    Rate.

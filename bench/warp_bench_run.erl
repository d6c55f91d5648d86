%% What the benchmarks share: the machine's figures, contexts, callers that count, and tables. Beside each figure stands
%% its ratio to the disk's rate of syncs, which was measured just before; both are collected.
-module(warp_bench_run).

-export([machine/2, fdatasync/1, with_context/3, ledger/0, log/0, event/1, callers/3, in_turn/2]).
-export_type([figures/0]).
-export([title/2, row/3, measured/0]).
-export([rate/1, micros/1, at/2]).

%% Calls per second, and the latencies at 50 and 99 percent in microseconds.
-type figures() :: {float(), number(), number()}.

%% The yardstick for everything durable: how often this disk makes 4 kB durable, one by one.
-spec machine(file:filename(), map()) -> ok.
machine(Dir, #{shards := Shards, seconds := Seconds}) ->
    ok = filelib:ensure_path(Dir),
    Synced = filename:join(Dir, "sync"),
    ?MODULE = ets:new(?MODULE, [named_table]),
    true = ets:insert(?MODULE, {synced, Synced}),
    io:format("~b schedulers, OTP ~s, ~s~n",
              [erlang:system_info(schedulers_online), erlang:system_info(otp_release),
               erlang:system_info(system_architecture)]),
    io:format("~s fdatasync/s of 4 kB, ~b shards, ~b s per figure, durability full~n",
              [rate(fdatasync(Synced)), Shards, Seconds]).

%% Syncs per second of 4 kB each, appended to a new file.
-spec fdatasync(file:filename()) -> float().
fdatasync(File) ->
    {ok, Fd} = file:open(File, [write, raw, binary]),
    Page = binary:copy(<<1>>, 4096),
    {Took, _} = timer:tc(fun() ->
        [begin ok = file:write(Fd, Page), ok = file:datasync(Fd) end || _ <- lists:seq(1, 1000)]
    end),
    ok = file:close(Fd),
    ok = file:delete(File),
    1000 * 1000000 / Took.

%% A real fold: a balance and a count.
-spec ledger() -> map().
ledger() ->
    #{
        name => <<"Ledger">>,
        initial_state => #{balance => 0, entries => 0},
        apply => fun(#{balance := B, entries := N}, #{payload := #{<<"amount">> := Amount}}) ->
            #{balance => B + Amount, entries => N + 1}
        end
    }.

%% No fold: a pure log.
-spec log() -> map().
log() ->
    #{name => <<"Log">>, initial_state => none}.

%% A payload of about 50 bytes as JSON.
-spec event(integer()) -> map().
event(N) ->
    #{type => <<"Credited">>,
      payload => #{<<"amount">> => N, <<"from">> => <<"acct-00001234">>, <<"ok">> => true}}.

-spec with_context(file:filename(), map(), fun((warp_core:ctx()) -> Result)) -> Result.
with_context(Dir, Options, Fun) ->
    _ = file:del_dir_r(Dir),
    Defaults = #{context => <<"bench">>, data_dir => Dir, aggregates => [ledger()]},
    {ok, Ctx} = warp_core:start(maps:merge(Defaults, Options)),
    try
        Fun(Ctx)
    after
        ok = warp_core:stop(Ctx),
        _ = file:del_dir_r(Dir)
    end.

%% N callers call Fun(Caller, Round) for that many seconds, after a fifth of it to warm up.
-spec callers(pos_integer(), pos_integer(), fun((pos_integer(), pos_integer()) -> term())) -> figures().
callers(N, Seconds, Fun) ->
    Self = self(),
    Go = atomics:new(1, []),
    Pids = [spawn_link(fun() -> caller(Self, Go, Caller, Fun) end) || Caller <- lists:seq(1, N)],
    timer:sleep(Seconds * 200),
    ok = atomics:put(Go, 1, 1),
    Start = erlang:monotonic_time(),
    timer:sleep(Seconds * 1000),
    ok = atomics:put(Go, 1, 2),
    Took = erlang:convert_time_unit(erlang:monotonic_time() - Start, native, microsecond),
    Counted = [receive {Pid, Count, Sample} -> {Count, Sample} end || Pid <- Pids],
    Calls = lists:sum([Count || {Count, _} <- Counted]),
    Sorted = lists:sort(lists:append([Sample || {_, Sample} <- Counted])),
    {Calls * 1000000 / Took, at(Sorted, 50), at(Sorted, 99)}.

%% Measures several things in turn, so many rounds, since the speed of a machine changes meanwhile: of each the round
%% with the middle rate.
-spec in_turn(pos_integer(), [fun(() -> figures())]) -> [figures()].
in_turn(Rounds, Measures) ->
    Measured = [[Measure() || Measure <- Measures] || _ <- lists:seq(1, Rounds)],
    [lists:nth((Rounds + 1) div 2, lists:sort([lists:nth(Nth, Round) || Round <- Measured]))
     || Nth <- lists:seq(1, length(Measures))].

caller(Parent, Go, Caller, Fun) ->
    {Count, Sample} = count(Go, Caller, Fun, 1, 0, []),
    Parent ! {self(), Count, Sample},
    ok.

count(Go, Caller, Fun, Round, Count, Sample) ->
    %% One call in 16 is timed: a clock reading is not free.
    case Round rem 16 of
        0 ->
            T0 = erlang:monotonic_time(),
            _ = Fun(Caller, Round),
            Took = erlang:convert_time_unit(erlang:monotonic_time() - T0, native, nanosecond),
            next(Go, Caller, Fun, Round, Count, [Took | Sample]);
        _ ->
            _ = Fun(Caller, Round),
            next(Go, Caller, Fun, Round, Count, Sample)
    end.

next(Go, Caller, Fun, Round, Count, Sample) ->
    case atomics:get(Go, 1) of
        0 -> count(Go, Caller, Fun, Round + 1, 0, []);
        1 -> count(Go, Caller, Fun, Round + 1, Count + 1, Sample);
        2 -> {Count, Sample}
    end.

%% So many percent of the durations in nanoseconds, which are sorted, are shorter: in microseconds.
-spec at([non_neg_integer()], 1..99) -> number().
at([], _Percent) ->
    0;
at(Sorted, Percent) ->
    lists:nth(max(1, length(Sorted) * Percent div 100), Sorted) / 1000.

-spec title(iodata(), [string()]) -> ok.
title(Title, Columns) ->
    Synced = ets:lookup_element(?MODULE, synced, 2),
    true = ets:insert(?MODULE, [{title, Title}, {syncs, fdatasync(Synced)}]),
    io:format("~n~-36s~s~n", [Title, [io_lib:format("~12s", [Column]) || Column <- Columns ++ ["per sync"]]]).

-spec row(iodata(), warp_bench_baseline:figure(), [iodata()]) -> ok.
row(Name, Figure, Values) ->
    [Title, Syncs] = [ets:lookup_element(?MODULE, Key, 2) || Key <- [title, syncs]],
    Shown = case warp_bench_baseline:measured(Figure, Syncs) of
        none ->
            "";
        {_, Ratio} = Measured ->
            true = ets:insert(?MODULE, {{iolist_to_binary([Title, ": ", Name])}, Measured}),
            warp_bench_baseline:text(Ratio)
    end,
    Row = io_lib:format("  ~-34s~s", [Name, [io_lib:format("~12s", [Value]) || Value <- Values ++ [Shown]]]),
    io:format("~s~n", [string:trim(lists:flatten(Row), trailing)]).

%% All rows so far, by title and name.
-spec measured() -> #{binary() => warp_bench_baseline:measured()}.
measured() ->
    maps:from_list(ets:select(?MODULE, [{{{'$1'}, '$2'}, [], [{{'$1', '$2'}}]}])).

-spec rate(number()) -> string().
rate(PerSecond) when PerSecond >= 1.0e6 -> lists:flatten(io_lib:format("~.2f M", [PerSecond / 1.0e6]));
rate(PerSecond) when PerSecond >= 1.0e3 -> lists:flatten(io_lib:format("~.1f k", [PerSecond / 1.0e3]));
rate(PerSecond) -> lists:flatten(io_lib:format("~.1f", [float(PerSecond)])).

-spec micros(number()) -> string().
micros(Micros) when Micros >= 1000 -> lists:flatten(io_lib:format("~.1f ms", [Micros / 1000]));
micros(Micros) when Micros >= 10 -> lists:flatten(io_lib:format("~b us", [round(Micros)]));
micros(Micros) -> lists:flatten(io_lib:format("~b ns", [round(Micros * 1000)])).

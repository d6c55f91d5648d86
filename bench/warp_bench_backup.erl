%% Backups: the first run, which takes everything, a check with keys, a restore of all and of one entity, and appends
%% while a context is backed up again and again.
-module(warp_bench_backup).

-export([backup/1]).

-import(warp_bench_run, [with_context/3, callers/3, title/2, row/3, rate/1]).

%% So many events for each second of a figure, each appended by itself.
-define(EVENTS, 200000).
-define(IN_FLIGHT, 1000).
-define(CALLERS, 256).
-define(ROUNDS, 3).
%% A figure beside a continuous backup needs several runs.
-define(LEAST_SECONDS, 5).

-spec backup(map()) -> ok.
backup(#{seconds := Seconds} = Options) ->
    Events = Seconds * ?EVENTS,
    Ten = fun(N) -> <<"order-", (integer_to_binary(N rem (Events div 10)))/binary>> end,
    One = fun(_) -> <<"order">> end,
    Columns = ["events/s", "CPU/event", "MB/s stored", "bytes/event"],
    title([thousands(Events), " events, 10 an entity"], Columns),
    whole(Options, Events, Ten),
    title([thousands(Events), " events of one entity"], Columns),
    whole(Options, Events, One),
    title([thousands(Events), " events of one, as many of others"], ["events/s", "CPU/event", "seconds"]),
    alone(Options, Events, {One, Ten}),
    beside(Options).

%% A context with so many events of 200 bytes: backed up, checked, and, once it is stopped, restored.
whole(#{dir := Dir} = Given, Events, EntityOf) ->
    [Target, Restored] = Beside = emptied(Dir),
    Options = #{master_key => master(Dir)},
    Saved = filled(Given, [{Events, EntityOf}], fun(Ctx) ->
        [measured("first run", Events, fun() -> warp_backup:run(Ctx, Target, Options) end),
         measured("verify with the keys", Events, fun() -> warp_backup:verify(Target, Options) end)]
    end),
    Last = measured("restore", Events, fun() -> warp_backup:restore(Restored, Target, Options) end),
    [{_, _, _, #{bytes := Bytes}} | _] = Saved,
    [row(Name, {per_second, Events * 1000000 / Took},
         [rate(Events * 1000000 / Took), warp_bench_run:micros(Cpu / Events), io_lib:format("~.1f", [Bytes / Took]),
          integer_to_list(round(Bytes / Events))])
     || {Name, Took, Cpu, _} <- Saved ++ [Last]],
    _ = [ok = file:del_dir_r(Path) || Path <- Beside],
    ok.

%% One entity is restored from a backup that has as many events of others.
alone(#{dir := Dir} = Given, Events, {One, Others}) ->
    [Target, Restored] = Beside = emptied(Dir),
    Options = #{master_key => master(Dir)},
    {ok, _} = filled(Given, [{Events, Others}, {Events, One}], fun(Ctx) -> warp_backup:run(Ctx, Target, Options) end),
    Restore = fun() -> warp_backup:restore(Restored, Target, Options#{entity => One(1)}) end,
    {Name, Took, Cpu, _} = measured("restore of the one", Events, Restore),
    row(Name, {per_second, Events * 1000000 / Took},
        [rate(Events * 1000000 / Took), warp_bench_run:micros(Cpu / Events), io_lib:format("~.2f", [Took / 1000000])]),
    _ = [ok = file:del_dir_r(Path) || Path <- Beside],
    ok.

%% Folders for a backup and for what is restored from it.
emptied(Dir) ->
    Beside = [Dir ++ "-target", Dir ++ "-restored"],
    _ = [file:del_dir_r(Path) || Path <- Beside],
    Beside.

%% NOTE: the context is started again before anything is measured. What is still to be applied, and entities that become
%% idle, would count as work of the first run.
filled(#{dir := Dir, shards := Shards}, Fills, Fun) ->
    _ = file:del_dir_r(Dir),
    Start = fun() ->
        {ok, Ctx} = warp_core:start(#{context => <<"bench">>, data_dir => Dir, shards => Shards,
                                      aggregates => [warp_bench_run:log()]}),
        Ctx
    end,
    Filled = Start(),
    [fill(Filled, Events, EntityOf) || {Events, EntityOf} <- Fills],
    ok = warp_core:stop(Filled),
    Ctx = Start(),
    try
        Fun(Ctx)
    after
        ok = warp_core:stop(Ctx),
        ok = file:del_dir_r(Dir)
    end.

measured(Name, Events, Work) ->
    Before = cpu_micros(),
    {Took, {ok, #{events := Events} = Report}} = timer:tc(Work),
    {Name, Took, cpu_micros() - Before, Report}.

%% One process with many appends in flight.
fill(Ctx, Events, EntityOf) ->
    {First, Rest} = lists:split(min(?IN_FLIGHT, Events), lists:seq(1, Events)),
    Append = fun(N, Requests) ->
        warp_core:append_request(warp_core:entity(Ctx, EntityOf(N)), event(N), #{}, N, Requests)
    end,
    Full = lists:foldl(Append, warp_core:reqids_new(), First),
    Left = lists:foldl(fun(N, Requests) -> Append(N, answered(Requests)) end, Full, Rest),
    all_answered(Left).

answered(Requests) ->
    {{ok, _}, _, Rest} = warp_core:receive_response(Requests, infinity, true),
    Rest.

all_answered(Requests) ->
    case warp_core:reqids_size(Requests) of
        0 -> ok;
        _ -> all_answered(answered(Requests))
    end.

%% 200 bytes as it is stored.
event(N) ->
    #{type => <<"Changed">>,
      payload => #{<<"order">> => N, <<"state">> => <<"packed">>, <<"by">> => <<"operator-17">>,
                   <<"note">> => binary:part(base64:encode(crypto:strong_rand_bytes(70)), 0, 93)}}.

%% The same callers on the same context with a run every second, and without, in turn.
beside(#{dir := Dir, shards := Shards, seconds := Seconds}) ->
    title("append, one event of 200 bytes", ["events/s", "p50", "p99", "of without"]),
    Target = Dir ++ "-target",
    _ = file:del_dir_r(Target),
    Options = #{to => Target, every => 1000, master_key => master(Dir)},
    with_context(Dir, #{shards => Shards, aggregates => [warp_bench_run:log()]}, fun(Ctx) ->
        Entities = list_to_tuple([warp_core:entity(Ctx, <<"order-", (integer_to_binary(N))/binary>>)
                                  || N <- lists:seq(1, ?CALLERS)]),
        Append = fun(Caller, Round) -> {ok, _} = warp_core:append(element(Caller, Entities), event(Round)) end,
        Without = fun() -> callers(?CALLERS, max(?LEAST_SECONDS, Seconds), Append) end,
        With = fun() ->
            {ok, _} = warp_backup:start(Ctx, Options),
            Figures = Without(),
            %% Ends the run that is under way.
            {ok, _} = warp_backup:run(Ctx, Target, maps:without([to, every], Options)),
            ok = warp_backup:stop(Ctx, Target),
            Figures
        end,
        [{Of, _, _} | _] = Figures = warp_bench_run:in_turn(?ROUNDS, [Without, With]),
        [row(Name, {per_second, Rate}, [rate(Rate), warp_bench_run:micros(P50), warp_bench_run:micros(P99),
                                        io_lib:format("~.2f", [Rate / Of])])
         || {Name, {Rate, P50, P99}} <- lists:zip(["256 callers, no backup", "256 callers, backed up each second"],
                                                  Figures)]
    end),
    ok = file:del_dir_r(Target).

%% How long the processors have worked for this VM.
cpu_micros() ->
    {ok, Stat} = file:read_file("/proc/self/stat"),
    %% The name of the program stands in parentheses, and may have any other character.
    Fields = binary:split(lists:last(binary:split(Stat, <<") ">>, [global])), <<" ">>, [global]),
    %% User and system time in hundredths of a second.
    10000 * lists:sum([binary_to_integer(lists:nth(N, Fields)) || N <- [12, 13]]).

master(Dir) ->
    Path = Dir ++ "-master",
    ok = filelib:ensure_dir(Path),
    ok = file:write_file(Path, binary:encode_hex(crypto:strong_rand_bytes(32))),
    ok = file:change_mode(Path, 8#600),
    {file, Path}.

thousands(N) -> [integer_to_list(N div 1000), ",000"].

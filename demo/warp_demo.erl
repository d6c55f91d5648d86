%% The main job, on real input: load, kill, load again, check, show, delete, sum up.
-module(warp_demo).

-export([main/0]).

%% Ends the VM with init:stop, since halt may lose what has just been written.
-spec main() -> ok.
main() ->
    ok = io:setopts(standard_io, [{encoding, unicode}]),
    case warp_demo_options:parse(init:get_plain_arguments()) of
        {ok, Options} ->
            init:stop(guarded(fun() -> demo(Options) end));
        help ->
            io:put_chars(warp_demo_options:usage()),
            init:stop(0);
        {error, Why} ->
            init:stop(fail([Why, "\n\n", warp_demo_options:usage()]))
    end.

%% The exit status. What is thrown as {stop, Why} is for the user; all else is a fault of the demo
%% or of Warp, and wants its stack.
guarded(Fun) ->
    try
        Fun()
    catch
        throw:{stop, Why} ->
            fail(Why);
        Class:Reason:Stack ->
            fail(io_lib:format("something broke: ~p:~tp~n~tp", [Class, Reason, Stack]))
    end.

fail(Why) ->
    io:put_chars(standard_error, ["demo: ", Why, "\n"]),
    1.

demo(Options) ->
    Began = erlang:monotonic_time(millisecond),
    Job = warp_demo_job:prepare(Options),
    Killed = first_load(Job),
    Loaded = second_load(Job, Killed),
    Bytes = warp_demo_job:bytes(Job),
    {Ctx, _} = warp_demo_job:open(Job),
    States = states(Ctx, Job, Loaded),
    States =/= [] orelse stop("no row was stored; refused: ~ts",
                              [warp_demo_summary:reasons(Loaded)]),
    Found = check(Job, Loaded, States),
    Projected = projected(Job, Ctx, Loaded),
    Backup = warp_demo_backup:run(Job, Ctx),
    Shown = show(Job, Ctx, largest(Job, States), Killed),
    gone(Job, Ctx, largest(Job, States), States),
    ok = warp_core:stop(Ctx),
    Restored = warp_demo_backup:restore(Job, Backup, largest(Job, States), States),
    Seconds = (erlang:monotonic_time(millisecond) - Began) / 1000,
    warp_demo_summary:print(Job, #{killed => Killed, loaded => Loaded, bytes => Bytes,
                                   found => Found, projected => Projected, shown => Shown,
                                   backup => Backup, restored => Restored, seconds => Seconds}),
    0.

first_load(Job) ->
    say("Loading, in a VM that will kill itself half-way with SIGKILL", []),
    #{acknowledged := Acknowledged} = Killed = warp_demo_killed:run(Job),
    say("  killed: ~ts events had been acknowledged", [count(Acknowledged)]),
    Killed.

%% What the load did, and how many events were there before it.
second_load(#{context_dir := ContextDir} = Job, #{acknowledged := Acknowledged}) ->
    {Ctx, Opening} = warp_demo_job:open(Job),
    Recovered = warp_demo_sqlite:count_events(ContextDir),
    say("~nStarted again on the same files in ~ts s: ~ts events are there",
        [warp_demo_text:decimal(Opening, 2), count(Recovered)]),
    Recovered >= Acknowledged orelse stop("events that had been acknowledged are lost", []),
    say("~nLoading again, from the first row", []),
    case warp_demo_load:run(Job, Ctx, "load again", none) of
        {ok, #{stored := Stored} = Loaded} ->
            #{events := Written} = warp_core:stats(Ctx),
            ok = warp_core:stop(Ctx),
            say("  ~ts events written, ~ts were there already",
                [count(Written), count(Stored - Written)]),
            Loaded#{recovered => Recovered, written => Written};
        {error, Why} ->
            stop("the load stopped: ~ts", [Why])
    end.

%% Of a context that has just been opened, so that each state is folded from the files.
states(Ctx, #{data := Data}, #{ids := Ids}) ->
    #{name := Aggregate} = Data:aggregate(),
    [begin
         {ok, State} = warp_core:get(warp_core:entity(Ctx, Id), Aggregate),
         {Id, State}
     end || Id <- Ids].

%% The id with the most events; of several the first by name.
largest(#{data := Data}, States) ->
    {_, Id} = lists:min([{-hd(Data:values(State)), Id} || {Id, State} <- States]),
    Id.

%% Everything that must be so if nothing was lost, doubled or changed.
check(#{data := Data, context_dir := ContextDir} = Job,
      #{refused := Refused, recovered := Recovered, written := Written}, States) ->
    #{events := Events, entities := Entities} = Data:words(),
    say("~nComparing every state with what the sqlite3 shell computes from the file alone", []),
    case warp_demo_check:run(Job, States, Refused) of
        {ok, #{mismatches := 0} = Found} ->
            #{entities := Ids, events := InFile, refused := NotStored} = Found,
            say("  ~ts ~ts, ~ts ~ts: no difference", [count(Ids), Entities, count(InFile), Events]),
            same("rows refused", length(Refused), "rows to refuse", NotStored),
            same("events recovered and written", Recovered + Written, "in the file", InFile),
            same("events in the shards", warp_demo_sqlite:count_events(ContextDir), "in the file",
                 InFile),
            Found;
        {ok, #{mismatches := Count, examples := Examples}} ->
            lists:foreach(fun(Line) -> say("  ~ts", [Line]) end, Examples),
            stop("~ts ~ts differ, above the first of them", [count(Count), Entities]);
        {error, Why} ->
            stop("could not compare: ~ts", [Why])
    end.

%% What projections have written by now.
projected(#{data := Data} = Job, Ctx, #{refused := Refused}) ->
    Names = lists:join(", ", [Name || {Name, _, _} <- Data:tables()]),
    say("~nComparing the read model on ~ts (~ts) with the file", [warp_demo_read_model:name(), Names]),
    case warp_demo_read_model:run(Job, Ctx, Refused) of
        {ok, #{mismatches := 0, rows := Rows, seconds := Seconds} = Projected} ->
            say("  ~ts rows: no difference; all events showed after ~ts s",
                [count(Rows), warp_demo_text:decimal(Seconds, 2)]),
            Projected;
        {ok, #{mismatches := Count, examples := Examples}} ->
            lists:foreach(fun(Line) -> say("  ~ts", [Line]) end, Examples),
            stop("~ts rows of the read model differ, above the first of them", [count(Count)]);
        {error, Why} ->
            stop("could not compare the read model: ~ts", [Why])
    end.

gone(#{data := Data} = Job, Ctx, Id, States) ->
    Left = lists:sum([hd(Data:values(State)) || {Other, State} <- States, Other =/= Id]),
    case warp_demo_read_model:without(Job, Ctx, Id, Left) of
        true -> say("  and of the read model: its row, and its share in the rows of others", []);
        false -> stop("~ts was deleted, and the read model still has something of it", [Id])
    end.

same(_, Count, _, Count) -> ok;
same(What, Count, Other, Wanted) -> stop("~b ~ts, but ~b ~ts", [Count, What, Wanted, Other]).

show(#{data := Data} = Job, Ctx, Id, Killed) ->
    case {warp_demo_show:run(Job, Ctx, Id, Killed), Data:ids_stand_alone()} of
        {#{events_left := 0, lines_left := 0} = Shown, _} -> Shown;
        {#{events_left := 0} = Shown, false} -> Shown;
        _ -> stop("~ts was deleted, and there is something left of it", [Id])
    end.

-spec stop(io:format(), [term()]) -> no_return().
stop(Format, Values) ->
    throw({stop, io_lib:format(Format, Values)}).

say(Format, Values) ->
    warp_demo_text:say(io_lib:format(Format, Values)).

count(Number) ->
    warp_demo_text:count(Number).

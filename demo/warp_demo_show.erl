%% Shows one entity: its state now and earlier, its last events, its export, and that deleting it
%% leaves nothing of it in the files.
-module(warp_demo_show).

-export([run/4]).

-define(LAST, 5).

%% Answers how many lines of the context's files hold the entity's id before and after it is
%% deleted.
-spec run(warp_demo_job:job(), term(), binary(), #{at := integer(), _ => _}) ->
          #{lines_before := pos_integer(), lines_left := non_neg_integer(),
            events_left := non_neg_integer()}.
run(#{data := Data, dir := Dir, context_dir := ContextDir}, Ctx, Id, #{at := KilledAt}) ->
    Entity = warp_core:entity(Ctx, Id),
    {ok, Events} = warp_core:export(Entity),
    say("~n~ts ~ts, the one with the most ~ts",
        [maps:get(entity, Data:words()), short(Id), maps:get(events, Data:words())]),
    states(Entity, Data, Events, KilledAt),
    last_events(Entity, Data),
    File = filename:join(Dir, lists:sublist(binary_to_list(uri_string:quote(Id)), 100) ++ ".json"),
    ok = file:write_file(File, json(Events)),
    say("~n  exported: ~ts events, ~ts, in~n    ~ts",
        [warp_demo_text:count(length(Events)),
         warp_demo_text:bytes(filelib:file_size(File)), File]),
    delete(Entity, Id, ContextDir).

states(Entity, Data, Events, KilledAt) ->
    #{name := Aggregate} = Data:aggregate(),
    {ok, Now} = warp_core:get(Entity, Aggregate),
    Moments = [{io_lib:format("after its 10th ~ts", [maps:get(event, Data:words())]), {seq, 10}}
               || length(Events) >= 10]
        ++ Data:moments(Events)
        ++ [{"stored when the VM was killed", {time, KilledAt}}],
    Earlier = [begin
                   {ok, State} = warp_core:state_at(Entity, Aggregate, Moment),
                   {Label, State}
               end || {Label, Moment} <- Moments],
    lists:foreach(fun({Label, State}) -> say("  ~ts~n    ~ts", [Label, Data:describe(State)]) end,
                  [{"now", Now} | Earlier]).

last_events(Entity, Data) ->
    {ok, Backward} = warp_core:history(Entity, #{direction => backward, limit => ?LAST}),
    say("~n  its last ~b ~ts", [length(Backward), maps:get(events, Data:words())]),
    lists:foreach(fun(Event) -> say("    ~ts", [Data:describe_event(Event)]) end,
                  lists:reverse(Backward)).

json(Events) ->
    ["[\n", lists:join(",\n", [warp_demo_json:encode(Event) || Event <- Events]), "\n]\n"].

delete(Entity, Id, ContextDir) ->
    Before = found_in(ContextDir, Id),
    ok = warp_core:delete(Entity),
    Left = found_in(ContextDir, Id),
    {ok, Remaining} = warp_core:export(Entity),
    say("~n  deleted; lines in the context's files that hold ~ts (grep -c, WAL and shm too)",
        [short(Id)]),
    say("    before ~ts, now ~ts", [warp_demo_text:count(Before), warp_demo_text:count(Left)]),
    #{lines_before => Before, lines_left => Left, events_left => length(Remaining)}.

%% What grep counts over every file below the folder.
found_in(Dir, Id) ->
    Port = open_port({spawn_executable, os:find_executable("grep")},
                     [{args, ["-r", "-c", "-a", "-h", "-F", "-e", Id, Dir]},
                      {env, [{"LC_ALL", "C"}]}, binary, exit_status]),
    lists:sum([binary_to_integer(Count) || Count <- counts(Port, <<>>)]).

%% 1: nothing found.
counts(Port, Text) ->
    receive
        {Port, {data, More}} -> counts(Port, <<Text/binary, More/binary>>);
        {Port, {exit_status, Status}} when Status < 2 ->
            binary:split(Text, <<"\n">>, [global, trim_all])
    end.

short(Id) ->
    warp_demo_text:short(Id, 60).

say(Format, Values) ->
    warp_demo_text:say(io_lib:format(Format, Values)).

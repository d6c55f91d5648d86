%% Carries out one case: each round measures every subject once, so that what changes about the machine in the meantime
%% meets all of them.
-module(warp_peers_rounds).

-export([measured/3, cleared/2]).

-spec measured(warp_peers_work:work_case(), pos_integer(), warp_peer:env()) -> [warp_peers_figures:figure()].
measured(#{subjects := Subjects} = Case, Rounds, Env) ->
    Measured = [{Subject, round_of(Case, Subject, Round, Rounds, Env)}
                || Round <- lists:seq(1, Rounds), Subject <- Subjects],
    [begin
         Values = [Value || {Of, Value} <- Measured, Of =:= Subject],
         (maps:with([work, 'case', unit, chart], Case))#{
             subject => Subject, values => Values, median => warp_peers_figures:median(Values)}
     end || Subject <- Subjects].

round_of(#{work := Work, 'case' := Name, unit := Unit, store := Store, op := Op}, Subject, Round, Rounds, Env) ->
    Value =
        try room_for(Subject, Store) andalso in_store(Subject, Store, Env, Op(Round)) of
            false -> blank;
            Result when is_number(Result); Result =:= blank -> Result
        catch
            Class:Why ->
                io:format(standard_error, "~ts, ~ts, ~ts failed: ~ts~n",
                          [Work, Name, warp_peer:label(Subject), said(Class, Why)]),
                failed
        end,
    io:format(standard_error, "~ts, ~ts, round ~b of ~b: ~ts ~ts~n",
              [Work, Name, Round, Rounds, warp_peer:label(Subject), warp_peers_figures:text(Unit, Value)]),
    Value.

said(throw, Text) -> Text;
said(Class, Why) -> io_lib:format("~p: ~p", [Class, Why]).

%% A peer that has all in memory may take half of what is free.
room_for(_, empty) ->
    true;
room_for(Subject, Store) ->
    Needed = (warp_peer:module(Subject)):memory_per_event() * element(2, Store),
    Needed < warp_peers_machine:available_memory() / 2.

in_store(Subject, Store, Env, Op) ->
    Module = warp_peer:module(Subject),
    Dir = folder(Subject, Store, Env),
    ok = filled(Module, Subject, Store, Dir, Env),
    try opened(Module, Subject, Store, Dir, Env, fun(Peer) -> Module:measure(Peer, Op, Store, Env) end)
    after
        _ = [ok = file:del_dir_r(Dir) || Store =:= empty]
    end.

%% What is stored before is stored once, for all rounds. The note says that it is whole.
filled(Module, Subject, Store, Dir, #{dir := Base} = Env) ->
    Note = filename:join([Base, "filled-" ++ filename:basename(Dir)]),
    case filelib:is_regular(Note) of
        true ->
            ok;
        false ->
            ok = made(Subject, Dir, Env),
            _ = [opened(Module, Subject, Store, Dir, Env, fun(Peer) ->
                     io:format(standard_error, "storing ~b events: ~ts~n",
                               [element(2, Store), warp_peer:label(Subject)]),
                     Module:fill(Peer, Store)
                 end) || Store =/= empty],
            _ = [ok = file:write_file(Note, "") || Store =/= empty],
            ok
    end.

opened(Module, Subject, Store, Dir, Env, Fun) ->
    Peer = Module:open(Subject, Store, Dir, Env),
    try Fun(Peer) after ok = Module:close(Peer) end.

%% The servers' folders belong to their user; see bench/peers/run.
folder(Subject, Store, #{dir := Base}) ->
    Of = case Subject of postgres -> "postgres"; redis -> "redis"; _ -> "." end,
    filename:join([Base, Of, named(Subject) ++ named(Store)]).

named(Term) ->
    re:replace(io_lib:format("~p", [Term]), "[^a-z0-9_]+", "-", [global, {return, list}]).

made(Subject, Dir, #{as := As} = Env) when Subject =:= postgres; Subject =:= redis ->
    _ = warp_peers_os:run(Env, As ++ ["mkdir", "-p", Dir]),
    ok;
made(_, Dir, _) ->
    filelib:ensure_path(Dir).

%% Removes what was stored, but for stores that are still needed.
-spec cleared(warp_peer:env(), [warp_peer:store()]) -> ok.
cleared(#{dir := Base}, Needed) ->
    Suffixes = [named(Store) || Store <- Needed],
    lists:foreach(fun(Note) ->
        "filled-" ++ Name = filename:basename(Note),
        case lists:any(fun(Suffix) -> lists:suffix(Suffix, Name) end, Suffixes) of
            true ->
                ok;
            false ->
                _ = [file:del_dir_r(filename:join([Base, Of, Name])) || Of <- [".", "postgres", "redis"]],
                ok = file:delete(Note)
        end
    end, filelib:wildcard(filename:join(Base, "filled-*"))).

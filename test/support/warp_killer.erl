%% Kills processes of a context: one by one, or again and again until told to stop.
-module(warp_killer).

-export([quiet/1, loud/1]).
-export([kill_process/2, start/2, stop/1, is_transient/1, settle/1]).

%% For a suite: without the reports of all that is killed.
quiet(Config) ->
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, emergency),
    [{log_level, Level} | Config].

loud(Config) ->
    ok = logger:set_primary_config(level, proplists:get_value(log_level, Config)).

%% What a call may answer while what was killed is being started again.
is_transient(interrupted) -> true;
is_transient({shard_unavailable, _}) -> true;
is_transient(_) -> false.

%% One of the context's own processes, whichever the number falls on: its role.
kill_process(Ctx, Number) ->
    %% It asks the supervisors, of which one may just be on its way down.
    case catch warp_test:processes(Ctx) of
        [_ | _] = Processes ->
            {Role, Pid} = lists:nth(1 + Number rem length(Processes), Processes),
            kill(Pid),
            Role;
        _ ->
            none
    end.

kill(Pid) ->
    Ref = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Ref, process, Pid, _} -> ok end.

%% Every few milliseconds kills the process of one of the entities, or one of the
%% processes that hold up the context.
start(Ctx, Entities) ->
    spawn_link(fun() -> loop(Ctx, Entities, []) end).

loop(Ctx, Entities, Killed) ->
    receive
        {stop, From} -> From ! {killed, self(), Killed}
    after 10 + rand:uniform(40) ->
        Role = case rand:uniform(3) of
                   1 -> kill_process(Ctx, rand:uniform(1000));
                   _ -> kill_entity(lists:nth(rand:uniform(length(Entities)), Entities))
               end,
        loop(Ctx, Entities, [Role | Killed])
    end.

kill_entity(Entity) ->
    case warp_entity_registry:lookup(Entity) of
        {ok, Pid} -> kill(Pid), entity;
        none -> none
    end.

%% How many were killed, by role.
stop(Killer) ->
    Killer ! {stop, self()},
    receive
        {killed, Killer, Roles} ->
            maps:without([none], lists:foldl(fun(Role, Counts) ->
                maps:update_with(Role, fun(N) -> N + 1 end, 1, Counts)
            end, #{}, Roles))
    end.

%% Returns when every shard writes again. What was under way before is then
%% decided, for it was before this in the queue.
settle(Write) ->
    warp_test:wait_until(fun() ->
        case Write() of
            {ok, _} -> true;
            {error, Reason} -> not is_transient(Reason) andalso error(Reason)
        end
    end).

%% What the suites share: contexts in fresh directories, small aggregates, and
%% ways to wait for, look at and compare what a context does.
-module(warp_test).

%% Common Test: one list of cases, run in both modes.
-export([both_modes/0, both_modes/1, init_group/2, init_case/1, end_case/1]).
%% Contexts
-export([start/1, start/2, try_start/1, stop/1, restart/1, restart/2, stop_all/0, opts/1]).
-export([new_dir/0, remove_dir/1, context_dir/1, shard_files/1, files_with/2]).
%% Entities
-export([passivate/1, kill_entity/1, seqs/1, history/1, assert_whole/2, shard_of/1]).
%% Processes
-export([processes/1]).
%% Running and waiting
-export([await_applied/1, wait_until/1, wait_until/2, parallel/1, parallel/2, sqlite/2]).
%% Aggregates, and events for them
-export([aggregates/0, account/0, counter/0, log/0]).
-export([credited/1, debited/1, incremented/0, incremented/1, added/1, done/1,
         noted/1, noted/2, saw/1]).

-include_lib("warp_core/src/base/warp_entity.hrl").
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(CONTEXTS, {?MODULE, contexts}).

%% ---------------------------------------------------------------- Common Test

both_modes() ->
    [{group, actor}, {group, read_through}].

both_modes(Cases) ->
    [{actor, [], Cases}, {read_through, [], Cases}].

init_group(Mode, Config) ->
    [{mode, Mode} | Config].

init_case(Config) ->
    [{dir, new_dir()} | Config].

end_case(Config) ->
    stop_all(),
    remove_dir(?config(dir, Config)).

%% ------------------------------------------------------------------- Contexts

%% Takes the Config of a case, or the options themselves, which then name the
%% data_dir. Everything else has a default. Fails when the context can't start.
start(Config) when is_list(Config) ->
    start(Config, #{});
start(Opts) ->
    {ok, Ctx} = try_start(Opts),
    Ctx.

start(Config, Opts) ->
    start(maps:merge(opts(Config), Opts)).

opts(Config) ->
    #{data_dir => ?config(dir, Config),
      mode => proplists:get_value(mode, Config, actor)}.

try_start(Given) ->
    Opts = maps:merge(#{context => <<"test">>, aggregates => aggregates(), shards => 2},
                      Given),
    case warp_core:start(Opts) of
        {ok, Ctx} ->
            remember([{Ctx, Opts} | remembered()]),
            {ok, Ctx};
        {error, _} = Error ->
            Error
    end.

stop(Ctx) ->
    ok = warp_core:stop(Ctx),
    remember(lists:keydelete(Ctx, 1, remembered())).

restart(Ctx) ->
    restart(Ctx, #{}).

restart(Ctx, Changes) ->
    {Ctx, Opts} = lists:keyfind(Ctx, 1, remembered()),
    stop(Ctx),
    start(maps:merge(Opts, Changes)).

%% For the end of a case: also contexts that have stopped or died already.
stop_all() ->
    lists:foreach(fun({Ctx, _}) -> catch warp_core:stop(Ctx) end, remembered()),
    remember([]).

remembered() ->
    persistent_term:get(?CONTEXTS, []).

remember(Contexts) ->
    persistent_term:put(?CONTEXTS, Contexts).

%% ---------------------------------------------------------- Files of a context

new_dir() ->
    Name = io_lib:format("warp-~s-~b", [os:getpid(), erlang:unique_integer([positive])]),
    Dir = filename:join(os:getenv("TMPDIR", "/tmp"), Name),
    ok = filelib:ensure_path(Dir),
    Dir.

%% A VM that was killed may leave a last file while its folder is being emptied.
remove_dir(Dir) ->
    remove_dir(Dir, 50).

remove_dir(Dir, Attempts) ->
    case file:del_dir_r(Dir) of
        ok -> ok;
        {error, enoent} -> ok;
        {error, eexist} when Attempts > 0 -> timer:sleep(20), remove_dir(Dir, Attempts - 1)
    end.

context_dir(Ctx) ->
    {Ctx, #{data_dir := Dir, context := Name}} = lists:keyfind(Ctx, 1, remembered()),
    unicode:characters_to_list(filename:join(Dir, Name)).

shard_files(Dir) ->
    lists:sort(filelib:wildcard(filename:join([Dir, "**", "shard-*.db"]))).

%% Every file below Dir, of whatever name, whose bytes contain the needle.
files_with(Dir, Needle) ->
    filelib:fold_files(Dir, ".", true, fun(File, Found) ->
        {ok, Bytes} = file:read_file(File),
        case binary:match(Bytes, Needle) of
            nomatch -> Found;
            _ -> [File | Found]
        end
    end, []).

%% ------------------------------------------------------------------- Entities

%% Makes the entity cold: returns when it has no process.
passivate(Entity) ->
    wait_until(fun() ->
        case warp_entity_registry:lookup(Entity) of
            {ok, Pid} -> Pid ! passivate, not is_process_alive(Pid);
            none -> true
        end
    end).

kill_entity(Entity) ->
    case warp_entity_registry:lookup(Entity) of
        {ok, Pid} ->
            Ref = monitor(process, Pid),
            exit(Pid, kill),
            receive {'DOWN', Ref, process, Pid, _} -> killed end;
        none ->
            none
    end.

history(Entity) ->
    {ok, Events} = warp_core:history(Entity, #{limit => 1000000, timeout => 60000}),
    Events.

seqs(Entity) ->
    [Seq || #{seq := Seq} <- history(Entity)].

%% The log of the entity is exactly Count events, numbered from 1 with no gap.
assert_whole(Entity, Count) ->
    ?assertEqual(lists:seq(1, Count), seqs(Entity)).

%% -------------------------------------------------------- Running and waiting

%% Until the shards' files have all that the journal has.
await_applied(Ctx) ->
    wait_until(fun() -> maps:get(unflushed_rows, warp_core:stats(Ctx)) =:= 0 end).

wait_until(Fun) ->
    wait_until(Fun, 30000).

wait_until(Fun, Millis) ->
    wait_until_deadline(Fun, erlang:monotonic_time(millisecond) + Millis).

wait_until_deadline(Fun, Deadline) ->
    case Fun() of
        true ->
            ok;
        Other ->
            erlang:monotonic_time(millisecond) > Deadline
                andalso error({never_became_true, Other}),
            timer:sleep(5),
            wait_until_deadline(Fun, Deadline)
    end.

%% Runs each fun in a process of its own, all at once; results in their order.
parallel(Funs) ->
    Runs = [{spawn_monitor(fun() -> exit({result, Fun()}) end)} || Fun <- Funs],
    [receive
         {'DOWN', Ref, process, Pid, {result, Result}} -> Result;
         {'DOWN', Ref, process, Pid, Reason} -> error({parallel_run_died, Reason})
     end || {{Pid, Ref}} <- Runs].

parallel(Count, Fun) ->
    parallel([fun() -> Fun(N) end || N <- lists:seq(1, Count)]).

%% The rows that the sqlite3 shell prints for a query, columns joined by "|".
sqlite(File, Sql) ->
    Port = open_port({spawn_executable, os:find_executable("sqlite3")},
                     [{args, ["-batch", "-cmd", ".timeout 5000", File,
                              unicode:characters_to_binary(Sql)]},
                      binary, exit_status, stderr_to_stdout]),
    case sqlite_output(Port, <<>>) of
        {0, Output} -> binary:split(Output, <<"\n">>, [global, trim]);
        {Status, Output} -> error({sqlite3, Status, Output})
    end.

sqlite_output(Port, Output) ->
    receive
        {Port, {data, More}} -> sqlite_output(Port, <<Output/binary, More/binary>>);
        {Port, {exit_status, Status}} -> {Status, Output}
    end.

%% ------------------------------------------------------- Aggregates and events

aggregates() ->
    [account(), counter(), todo(), log(), seen()].

%% A bank account that never goes below zero.
account() ->
    #{name => <<"Account">>,
      initial_state => 0,
      apply => fun(Balance, #{type := <<"Credited">>, payload := #{<<"amount">> := N}}) ->
                       Balance + N;
                  (Balance, #{type := <<"Debited">>, payload := #{<<"amount">> := N}}) ->
                       Balance - N
               end,
      validate => fun(Balance, #{type := <<"Debited">>, payload := #{<<"amount">> := N}})
                        when N > Balance -> {error, {overdraft, Balance, N}};
                     (_, _) -> ok
                  end}.

credited(Amount) -> event(<<"Account">>, <<"Credited">>, #{amount => Amount}).
debited(Amount) -> event(<<"Account">>, <<"Debited">>, #{amount => Amount}).

counter() ->
    #{name => <<"Counter">>,
      initial_state => 0,
      apply => fun(Count, #{payload := #{<<"by">> := By}}) -> Count + By end}.

incremented() -> incremented(1).
incremented(By) -> event(<<"Counter">>, <<"Incremented">>, #{by => By}).

%% The titles still to do, oldest first.
todo() ->
    #{name => <<"Todo">>,
      initial_state => [],
      apply => fun(Titles, #{type := <<"Added">>, payload := #{<<"title">> := T}}) ->
                       Titles ++ [T];
                  (Titles, #{type := <<"Done">>, payload := #{<<"title">> := T}}) ->
                       Titles -- [T]
               end}.

added(Title) -> event(<<"Todo">>, <<"Added">>, #{title => Title}).
done(Title) -> event(<<"Todo">>, <<"Done">>, #{title => Title}).

%% A pure log: no apply, so the state stays as it began.
log() ->
    #{name => <<"Log">>, initial_state => empty}.

noted(Text) -> event(<<"Log">>, <<"Noted">>, #{text => Text}).
noted(Text, Id) -> (noted(Text))#{id => Id}.

%% Its state is every event that apply was given, newest first.
seen() ->
    #{name => <<"Seen">>, initial_state => [], apply => fun(Events, E) -> [E | Events] end}.

saw(Payload) -> event(<<"Seen">>, <<"Saw">>, Payload).

event(Aggregate, Type, Payload) ->
    #{aggregate => Aggregate, type => Type, payload => Payload}.

%% The shard that an entity lives in.
shard_of(Entity) ->
    #warp_entity{shard = N} = Entity,
    N.

%% Every process of a context but its entities, each with its part in it.
processes(Ctx) ->
    [{part(Id), Pid} || {Id, Pid} <- warp_contexts:processes(Ctx)].

part(context) -> context_sup;
part(shards) -> shards_sup;
part(N) when is_integer(N) -> shard_sup;
part(entities) -> entity_sup;
part(sagas) -> saga_keeper;
part(projection) -> projection_sup;
part(projectors) -> projectors_sup;
part({_N, _Generation}) -> projector;
part(Part) -> Part.

%% @private What a client of the control socket can ask for. Each operation calls public functions, and tells its
%% progress and the many things that it finds, one by one.
-module(warp_control_operations).

-export([run/4]).

-type tell() :: fun((iodata()) -> ok).
-type result() :: {ok, map()} | {error, term()}.

%% How many events are read at once: no more than a few MiB, where each is of the usual size.
-define(PIECE, 256).
-define(PAGE, 10000).
-define(READ_MS, 30000).
%% How long what an operator asks for may take that goes on by itself afterwards.
-define(WAIT_MS, 60000).
%% How often the progress of what takes long is told.
-define(LOOK_MS, 500).

%% @doc Carries out an operation. `{bad_request, Text}': there is none of that name, or an argument is missing.
-spec run(Operation :: term(), Args :: map(), warp_core:ctx(), tell()) -> result().
run(<<"hello">>, _, Ctx, _) -> hello(Ctx);
run(<<"inspect">>, Args, Ctx, Tell) -> inspect(Ctx, maps:get(<<"count">>, Args, true), Tell);
run(<<"stats">>, _, Ctx, _) -> of_stats(Ctx, fun(Stats) -> {ok, Stats} end);
run(<<"verify">>, _, Ctx, Tell) -> warp_core:verify(Ctx, #{progress => progress(Tell)});
run(<<"events">>, #{<<"entity">> := Id} = Args, Ctx, Tell) -> events(warp_core:entity(Ctx, Id), Args, Tell);
run(<<"last">>, #{<<"entity">> := Id}, Ctx, _) -> last(warp_core:entity(Ctx, Id));
run(<<"import">>, #{<<"entity">> := Id, <<"file">> := File}, Ctx, _) ->
    warp_control_import:run(warp_core:entity(Ctx, Id), File);
run(<<"erase">>, #{<<"entity">> := Id}, Ctx, _) ->
    done(warp_core:delete(warp_core:entity(Ctx, Id), #{timeout => ?WAIT_MS}));
run(<<"sagas">>, Args, Ctx, _) -> sagas(maps:get(<<"only">>, Args, all), Ctx);
run(<<"saga_retry">>, #{<<"saga">> := Id}, Ctx, _) -> ended(warp_saga:retry(Ctx, Id, #{wait => ?WAIT_MS}));
run(<<"saga_resolve">>, #{<<"saga">> := Id, <<"note">> := Note}, Ctx, _) ->
    with(warp_saga:resolve(Ctx, Id, Note, #{wait => ?WAIT_MS}), fun(_) -> warp_saga:status(Ctx, Id) end);
run(<<"saga">>, #{<<"saga">> := Id}, Ctx, _) -> warp_saga:status(Ctx, Id);
run(<<"subscriptions">>, _, Ctx, _) ->
    of_stats(Ctx, fun(#{subscriptions := All}) -> {ok, #{subscriptions => All}} end);
run(<<"projections">>, _, Ctx, _) -> warp_projection:status(Ctx);
run(<<"rebuild">>, Args, Ctx, Tell) -> rebuild(Ctx, maps:get(<<"wait">>, Args, true), Tell);
run(<<"backup_run">>, #{<<"to">> := _, <<"master_key">> := _} = Args, Ctx, Tell) ->
    warp_control_backups:run(Ctx, Args, Tell);
run(<<"backup_start">>, #{<<"to">> := _, <<"master_key">> := _, <<"every">> := _} = Args, Ctx, Tell) ->
    warp_control_backups:start(Ctx, Args, Tell);
run(<<"backup_merge">>, #{<<"to">> := _, <<"master_key">> := _, <<"keep">> := _} = Args, Ctx, Tell) ->
    warp_control_backups:merge(Ctx, Args, Tell);
run(<<"backup_stop">>, #{<<"to">> := To}, Ctx, _) -> done(warp_backup:stop(Ctx, To));
run(<<"backup_forget">>, #{<<"to">> := To}, Ctx, _) -> done(warp_backup:forget(Ctx, To));
run(<<"cluster">>, _, Ctx, _) -> cluster(Ctx);
run(<<"members">>, _, Ctx, _) ->
    with(warp_cluster:members(Ctx), fun(Members) -> {ok, #{members => Members}} end);
run(<<"leave">>, _, Ctx, Tell) -> leave(Ctx, Tell);
run(<<"forget">>, #{<<"nodes">> := Nodes}, Ctx, _) -> done(warp_cluster:forget(Ctx, Nodes, #{timeout => ?WAIT_MS}));
run(<<"adopt">>, _, Ctx, _) -> done(warp_cluster:adopt(Ctx));
run(Operation, _, _, _) when is_binary(Operation), byte_size(Operation) < 100 ->
    {error, {bad_request, <<"Warp ", (version())/binary, " does not know the operation `",
                            Operation/binary, "', or an argument of it is missing.">>}};
run(_, _, _, _) ->
    {error, {bad_request, <<"The operation is no short text.">>}}.

%% Also of a context that is still starting, and without asking another node.
hello(Ctx) ->
    case warp_context:find(Ctx) of
        {ok, #{name := Name}} -> {ok, (me())#{context => Name}};
        not_found -> {error, context_stopped}
    end.

me() ->
    #{warp => version(), node => node(), os_pid => list_to_binary(os:getpid())}.

version() ->
    {ok, Version} = application:get_key(warp_core, vsn),
    list_to_binary(Version).

with({ok, Value}, Use) -> Use(Value);
with({error, _} = Error, _Use) -> Error.

done(ok) -> {ok, #{}};
done({error, _} = Error) -> Error.

progress(Tell) ->
    fun(Progress) -> Tell(warp_control_json:progress(Progress)) end.

of_stats(Ctx, Use) ->
    case warp_core:stats(Ctx) of
        #{} = Stats -> Use(Stats);
        {error, _} = Error -> Error
    end.

%% ------------------------------------------------------------------ A context as a whole

inspect(Ctx, IsCounted, Tell) ->
    of_stats(Ctx, fun(Stats) ->
        case counts(Ctx, IsCounted, Tell) of
            {ok, Counts} -> {ok, shown(Stats, Counts, Ctx)};
            {error, _} = Error -> Error
        end
    end).

counts(_Ctx, false, _Tell) -> {ok, none};
counts(Ctx, true, Tell) -> count(Ctx, #{}, #{}, 0, Tell).

%% By shard, how many entities there are, and how many events: the seq of an entity's last event is the number of them.
count(Ctx, Page, Counts, Done, Tell) ->
    case warp_core:entities(Ctx, Page#{limit => ?PAGE, timeout => ?READ_MS}) of
        {ok, #{entities := Entities, next := Next}} ->
            Counted = lists:foldl(fun(Entity, Sums) -> add(Entity, Ctx, Sums) end, Counts, Entities),
            Now = Done + length(Entities),
            case Next of
                done ->
                    {ok, Counted};
                _ ->
                    ok = (progress(Tell))(#{part => entities, done => Now}),
                    count(Ctx, #{'after' => Next}, Counted, Now, Tell)
            end;
        {error, _} = Error ->
            Error
    end.

add(#{id := Id, seq := Seq}, Ctx, Counts) ->
    {ok, N} = warp_core:shard_of(warp_core:entity(Ctx, Id)),
    maps:update_with(N, fun({Entities, Events}) -> {Entities + 1, Events + Seq} end, {1, Seq}, Counts).

shown(#{shards := Shards} = Stats, Counts, Ctx) ->
    Shown = maps:with([context, mode, durability, file_bytes, unflushed_rows, deletions, sagas, subscriptions,
                       backups], Stats),
    Sums = maps:merge(me(), Shown),
    Sums#{shards => [shard(Shard, Counts) || Shard <- Shards],
          journal => maps:with([segments, file_bytes, unavailable], maps:get(journal, Stats)),
          projections => case Stats of
              #{projections := Of} -> maps:with([target, state, behind_positions, behind_seconds, set_aside,
                                                 rebuild_due], Of);
              #{} -> none
          end,
          cluster => case warp_cluster:status(Ctx) of
              {ok, #{phase := Phase, members := Members}} -> #{phase => Phase, members => length(Members)};
              {error, _} -> none
          end}.

shard(#{shard := N} = Shard, none) ->
    maps:with([shard, position, file_bytes, unavailable, error], Shard#{shard := N});
shard(#{shard := N} = Shard, Counts) ->
    {Entities, Events} = maps:get(N, Counts, {0, 0}),
    (shard(Shard, none))#{entities => Entities, events => Events}.

%% ------------------------------------------------------------------ One entity

last(Entity) ->
    with(read(Entity, #{direction => backward, limit => 1}), fun
        ([]) -> {ok, #{events => 0}};
        ([#{seq := Seq, recorded_at := At}]) -> {ok, #{events => Seq, recorded_at => At}}
    end).

%% Events as they were stored, so that no function of an aggregate is called.
read(Entity, Range) ->
    warp_core:history(Entity, Range#{migrate => false, timeout => ?READ_MS}).

events(_Entity, #{<<"limit">> := Limit}, _Tell) when not is_integer(Limit); Limit < 1 ->
    {error, {bad_option, limit, {not_an_integer_from, 1}}};
events(Entity, Args, Tell) ->
    Direction = case Args of #{<<"backward">> := true} -> backward; _ -> forward end,
    From = case Args of #{<<"from">> := Seq} -> #{from => Seq}; _ -> #{} end,
    Limit = maps:get(<<"limit">>, Args, infinity),
    case read(Entity, From#{direction => Direction, limit => min(Limit, ?PIECE)}) of
        {ok, Events} -> piece(Events, {Entity, Direction, Tell}, Limit, min(Limit, ?PIECE), 0);
        {error, _} = Error -> Error
    end.

piece(Events, {_, _, Tell} = Of, Limit, Wanted, Done) ->
    _ = [ok = Tell(lists:join($\n, [warp_control_json:item(Event) || Event <- Events])) || Events =/= []],
    Count = length(Events),
    case Count =:= Wanted andalso Limit =/= Done + Count of
        true -> next(lists:last(Events), Of, Limit, Done + Count);
        false -> {ok, #{events => Done + Count}}
    end.

%% NOTE: the last event is read again. It is the same as long as the entity lives.
next(#{seq := Seq} = Last, {Entity, Direction, _} = Of, Limit, Done) ->
    Wanted = case Limit of infinity -> ?PIECE; _ -> min(Limit - Done, ?PIECE) end,
    case read(Entity, #{from => Seq, limit => Wanted + 1, direction => Direction}) of
        {ok, [Last | Events]} -> piece(Events, Of, Limit, Wanted, Done);
        {ok, _} -> {error, changed};
        {error, _} = Error -> Error
    end.

%% ------------------------------------------------------------------ Sagas

sagas(<<"stuck">>, Ctx) ->
    with(stuck(Ctx), fun(Stuck) -> {ok, #{sagas => Stuck}} end);
sagas(_, Ctx) ->
    with(warp_saga:pending(Ctx), fun(Pending) ->
        with(stuck(Ctx), fun(Stuck) ->
            {ok, #{sagas => Stuck ++ lists:sort(fun(#{id := A}, #{id := B}) -> A =< B end, Pending)}}
        end)
    end).

%% With the times, which are read of each one.
stuck(Ctx) ->
    with(warp_saga:stuck(Ctx), fun(Stuck) ->
        {ok, [case warp_saga:status(Ctx, Id) of {ok, Described} -> Described; {error, _} -> Saga#{state => stuck} end
              || #{id := Id} = Saga <- Stuck]}
    end).

ended({ok, {Result, Description}}) -> {ok, Description#{state => Result}};
ended({error, _} = Error) -> Error.

%% ------------------------------------------------------------------ Projections

rebuild(Ctx, IsAwaited, Tell) ->
    case warp_projection:rebuild(Ctx) of
        ok when IsAwaited -> rebuilt(Ctx, Tell);
        ok -> {ok, #{state => running}};
        {error, _} = Error -> Error
    end.

rebuilt(Ctx, Tell) ->
    case warp_projection:await_rebuild(Ctx, ?LOOK_MS) of
        {error, timeout} ->
            _ = [(progress(Tell))((maps:with([done, total], Progress))#{part => events})
                 || {ok, Progress} <- [warp_projection:rebuild_progress(Ctx)]],
            rebuilt(Ctx, Tell);
        %% The rebuild has come to its end before it was looked at.
        Done when Done =:= ok; Done =:= {error, not_running} ->
            {ok, #{state => done}};
        {error, _} = Error ->
            Error
    end.

%% ------------------------------------------------------------------ Clusters

cluster(Ctx) ->
    with(warp_cluster:status(Ctx), fun(Status) ->
        Moving = case warp_cluster:progress(Ctx) of {ok, Progress} -> Progress; {error, Why} -> #{error => Why} end,
        {ok, Status#{moving => Moving}}
    end).

leave(Ctx, Tell) ->
    case warp_cluster:leave(Ctx, #{timeout => ?LOOK_MS}) of
        ok ->
            {ok, #{}};
        {error, timeout} ->
            Status = warp_cluster:status(Ctx),
            _ = [(progress(Tell))(#{part => shards, left => length(maps:get(Node, Shards, []))})
                 || {ok, #{node := Node, shards := Shards}} <- [Status]],
            leave(Ctx, Tell);
        {error, _} = Error ->
            Error
    end.

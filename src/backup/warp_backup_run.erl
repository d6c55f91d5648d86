%% @private Backs a context up once: cuts, has keys made, and stores segments, of which the last one has the cut, then
%% key pages, and their index. The calling process does it.
%%
%% It can be interrupted anywhere, and made again: what has no name in the target was not stored. A run goes on behind
%% the last segment that is there, and stores the key pages that the index does not have yet.
%%
%% NOTE: segments first. Only one of two contexts can create a segment, and key pages are replaced: whoever comes
%% second must not have put its own in place of those of the other.
-module(warp_backup_run).

-export([run/3]).

-export_type([places/0, report/0]).

%% Where a backup goes: its segments, and its keys, which may be elsewhere.
-type places() :: #{segments := warp_backup_target:open(), keys := warp_backup_target:open(),
                    master := warp_backup_master:master()}.
-type report() :: #{
    %% The number of the cut that was made, or of the last one where nothing has changed since.
    cut := non_neg_integer(),
    %% Up to when the backup has everything.
    at := warp_core:micros(),
    segments := non_neg_integer(),
    key_pages := non_neg_integer(),
    rows := non_neg_integer(),
    events := non_neg_integer(),
    bytes := non_neg_integer()
}.

-define(OBJECT, <<"backup">>).

%% How long a run goes on trying while shards move from node to node, or while another node makes a run. The pauses in
%% between grow from the first to the second of these with each attempt at a cut that held commits up for nothing.
-define(PATIENCE_MS, 60000).
-define(PAUSE_MS, 200).
-define(LONG_PAUSE_MS, 5000).

%% What a run is made of.
-record(run, {
    context :: warp_context:context(),
    places :: places(),
    tell :: fun((report()) -> term()),
    %% The backup's number; the object `backup', and its key.
    number :: non_neg_integer(),
    keys :: {binary(), binary()},
    cut :: warp_backup_hold:cut(),
    covered :: warp_backup_stream:covered()
}).

%% @doc Backs the context up. Calls Tell with the report so far after each object that was stored.
%%
%% Errors: `{shard_unavailable, N}' while a shard is not open, and `{node_unavailable, Node}' while its node cannot be
%% reached; `{other_backup, #{context, shards}}': the target has a backup of another context; `{forked, #{shard,
%% position}}': the context was put back to an older state, and has gone on otherwise since the backup; `target_in_use':
%% another one writes to the target; those of the master key ({@link warp_backup_master}), of the target ({@link
%% warp_backup_target}) and of the shards.
-spec run(warp_context:context(), places(), fun((report()) -> term())) -> {ok, report()} | {error, term()}.
run(Context, Places, Tell) -> run(Context, Places, Tell, {?PAUSE_MS, warp_deadline:from(?PATIENCE_MS)}).

run(#{owners := Owners} = Context, Places, Tell, {Pause, Deadline}) ->
    try
        {ok, saved(Context, Places, Tell)}
    catch
        throw:{error, Why} ->
            IsTried = not warp_context_owners:is_single(Owners) andalso is_passing(Why),
            case IsTried andalso not warp_deadline:is_over(Deadline) of
                true ->
                    ok = timer:sleep(Pause),
                    IsHeld = Why =:= not_at_once orelse Why =:= timeout,
                    Next = case IsHeld of true -> min(2 * Pause, ?LONG_PAUSE_MS); false -> Pause end,
                    run(Context, Places, Tell, {Next, Deadline});
                false when Why =:= not_at_once; Why =:= closed; element(1, Why) =:= not_here ->
                    {error, interrupted};
                false ->
                    {error, Why}
            end
    end.

%% A shard has moved; or another node makes a run, or has made one.
is_passing({shard_unavailable, _}) -> true;
is_passing({not_here, _}) -> true;
is_passing(Why) -> lists:member(Why, [closed, interrupted, not_at_once, target_in_use, timeout, overloaded]).

saved(#{shards := Shards} = Context, #{segments := Target, keys := Keys} = Places, Tell) ->
    ok = ok_of(warp_backup_target:can_create(Target)),
    {Backup, Number, Object} = opened(Context, Places),
    ok = ok_of(alone(Context, Number)),
    #{reaches := Reaches, segment := Last} = State = ok(warp_backup_stream:last(Target, Number, Shards)),
    Covered = ok(warp_backup_stream:covered(Keys, Number)),
    ok = not_forked(Context, Reaches),
    {Time, Positions} = Cut = ok(warp_backup_hold:cut(Context)),
    Run = #run{context = Context, places = Places, tell = Tell, number = Number,
               keys = {Object, warp_nif:backup_key(Backup)}, cut = Cut, covered = Covered},
    Report = #{cut => Last, at => Time, segments => 0, key_pages => 0, rows => 0, events => 0, bytes => 0},
    All = lists:sort(maps:to_list(Positions)),
    Changed = [N || {N, To} <- All, #{N := {From, _}} <- [Reaches], To > From],
    Keyless = [N || {N, To} <- All, To > maps:get(N, Covered, 0)],
    lists:foreach(fun(N) -> ok = ok_of(warp_backup_saver:make_keys(Context, N, maps:get(N, Positions))) end, Keyless),
    IsNew = Changed =/= [] orelse Last =:= 0,
    {Next, Stored} = case IsNew of
        true -> segments(groups(Changed, Context), State, Run, Report);
        false -> {State, Report}
    end,
    case IsNew orelse Keyless =/= [] of
        true ->
            Paged = pages(groups(Keyless, Context), Next, Run, Stored),
            ok = index(Next, Backup, Run),
            Paged;
        false ->
            Stored
    end.

%% No other node makes a run to this backup until the calling process ends.
alone(#{owners := Owners, shards := Shards} = Context, Number) ->
    case warp_context_owners:is_single(Owners) of
        true ->
            ok;
        false ->
            Places = ok(warp_backup_nodes:of_shards(Context, lists:seq(0, Shards - 1))),
            Nodes = [case Place of here -> node(); Pid -> node(Pid) end || {Place, _} <- Places],
            %% The process has a lock as often as it has taken it.
            case global:set_lock({{?MODULE, Number}, self()}, Nodes, 0) of
                true -> ok;
                false -> {error, target_in_use}
            end
    end.

%% Where the shards are. The cut of a context without any event needs a segment too.
groups([], _Context) -> [{here, []}];
groups(Ns, Context) -> ok(warp_backup_nodes:of_shards(Context, Ns)).

opened(#{name := Name, shards := Shards} = Context, #{segments := Target, master := Master} = Places) ->
    case warp_backup_target:read(Target, ?OBJECT) of
        {ok, Object} ->
            case ok(warp_nif:backup_about(Object)) of
                #{context := Name, shards := Shards, number := Number} ->
                    {ok(warp_backup_master:open(Master, Object)), Number, Object};
                Other ->
                    throw({error, {other_backup, maps:with([context, shards], Other)}})
            end;
        not_found ->
            {ok, Backup} = warp_nif:backup_new(),
            About = {Name, Shards, os:system_time(microsecond)},
            Object = ok(warp_backup_master:wrap(Master, Backup, About)),
            case warp_backup_target:create(Target, ?OBJECT, Object) of
                ok -> opened(Context, Places);
                exists ->
                    ok = ok_of(same(warp_backup_target:read(Target, ?OBJECT), Object)),
                    opened(Context, Places);
                {error, _} = Error -> throw(Error)
            end;
        {error, _} = Error ->
            throw(Error)
    end.

%% A folder that was put back has written other rows since, or lacks some.
not_forked(Context, Reaches) ->
    maps:foreach(
        fun
            (_N, {0, _}) ->
                ok;
            (N, {Position, Run}) ->
                RunOf = fun(Log) -> warp_cluster_log:run_of(Log, Position) end,
                case ok(warp_context:with_log(Context, N, RunOf)) of
                    Run -> ok;
                    _ -> throw({error, {forked, #{shard => N, position => Position}}})
                end
        end,
        Reaches).

%% Each node adds what it has behind what the others have stored. The last one completes the cut.
segments([], State, _Run, Report) ->
    {State, Report};
segments([{Place, Ns} | Groups], State, #run{number = Backup, cut = {_, Positions}} = Run, Report) ->
    Part = fun(N, {From, Before}) ->
        To = case lists:member(N, Ns) of true -> maps:get(N, Positions); false -> From end,
        {N, {From, Before, To}, To}
    end,
    Saver = saver(Place, State, Groups =:= [], Part, Run),
    {#{segment := Number} = Next, Object, Stored} = stored(Saver, {State, none}, Run, Report),
    ok = warp_backup_saver:stop(Saver),
    case Groups =:= [] orelse Object =:= none of
        true -> segments(Groups, Next, Run, Stored);
        %% How far it goes is for the next node to know.
        false -> segments(Groups, ok(warp_backup_stream:state(Object, Backup, Number)), Run, Stored)
    end.

saver(Place, #{segment := Last, hash := Hash, reaches := Reaches}, Completes, Part,
      #run{context = #{shards := Shards} = Context, keys = Keys, cut = {Time, _}}) ->
    Stream = {warp_backup_stream:number(), Shards, atom_to_binary(node()), Last, Hash},
    Parts = [Part(N, Reach) || {N, Reach} <- lists:sort(maps:to_list(Reaches))],
    ok(warp_backup_saver:start(Place, Context, {Keys, Stream, {Time, Completes}, Parts})).

%% With the last segment, if there was one.
stored(Saver, {State, Before}, #run{places = #{segments := Target}, tell = Tell} = Run, Report) ->
    case ok(warp_backup_saver:segment(Saver)) of
        none ->
            {State, Before, Report};
        {Number, Hash, _IsLast, Rows, Events, Object} ->
            Name = warp_backup_stream:name(Number),
            case warp_backup_target:create(Target, Name, Object) of
                ok -> ok;
                exists -> ok = ok_of(same(warp_backup_target:read(Target, Name), Object));
                {error, _} = Error -> throw(Error)
            end,
            #{segments := N, rows := R, events := E, bytes := B} = Report,
            Next = Report#{cut := Number, segments := N + 1, rows := R + Rows, events := E + Events,
                           bytes := B + byte_size(Object)},
            _ = Tell(Next),
            stored(Saver, {State#{segment := Number, hash := Hash}, Object}, Run, Next)
    end.

%% A target that stored it may have failed to say so.
same({ok, Object}, Object) -> ok;
same({error, _} = Error, _Object) -> Error;
same(_Another, _Object) -> {error, target_in_use}.

pages([], _State, _Run, Report) ->
    Report;
pages([{_, []} | Groups], State, Run, Report) ->
    pages(Groups, State, Run, Report);
pages([{Place, Ns} | Groups], State, #run{cut = {_, Positions}, covered = Covered} = Run, Report) ->
    Part = fun(N, {_, Before}) ->
        #{N := To} = Positions,
        {N, {To, Before, To}, case lists:member(N, Ns) of true -> maps:get(N, Covered, 0); false -> To end}
    end,
    Saver = saver(Place, State, false, Part, Run),
    Stored = stored_pages(Saver, Run, Report),
    ok = warp_backup_saver:stop(Saver),
    pages(Groups, State, Run, Stored).

stored_pages(Saver, #run{places = #{keys := Target}, tell = Tell} = Run, Report) ->
    case ok(warp_backup_saver:page(Saver)) of
        none ->
            Report;
        {Shard, Page, Object} ->
            ok = ok_of(warp_backup_target:replace(Target, warp_backup_stream:page(Shard, Page), Object)),
            #{key_pages := Count, bytes := Bytes} = Report,
            Next = Report#{key_pages := Count + 1, bytes := Bytes + byte_size(Object)},
            _ = Tell(Next),
            stored_pages(Saver, Run, Next)
    end.

index(#{segment := Last, hash := Hash}, Backup,
      #run{context = #{shards := Shards}, places = #{keys := Target}, cut = {Time, Positions}}) ->
    Stream = {warp_backup_stream:number(), Shards, atom_to_binary(node()), Last, Hash},
    Parts = [{nil, N, {To, 0, To}, To} || {N, To} <- lists:sort(maps:to_list(Positions))],
    {ok, Saving} = warp_nif:save(Backup, Stream, {Time, false}, Parts),
    ok_of(warp_backup_target:replace(Target, warp_backup_stream:index(), warp_nif:save_index(Saving))).

ok({ok, Value}) -> Value;
ok({error, _} = Error) -> throw(Error).

ok_of(ok) -> ok;
ok_of({error, _} = Error) -> throw(Error).

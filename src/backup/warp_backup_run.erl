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

%% @doc Backs the context up. Calls Tell with the report so far after each object that was stored.
%%
%% Errors: `{shard_unavailable, N}' while a shard is not open; `{other_backup, #{context, shards}}': the target has a
%% backup of another context; `{forked, #{shard, position}}': the context was put back to an older state, and has gone
%% on otherwise since the backup; `target_in_use': another one writes to the target; those of the master key ({@link
%% warp_backup_master}), of the target ({@link warp_backup_target}) and of the shards.
-spec run(warp_context:context(), places(), fun((report()) -> term())) -> {ok, report()} | {error, term()}.
run(Context, Places, Tell) ->
    try
        {ok, saved(Context, Places, Tell)}
    catch
        throw:{error, _} = Error -> Error
    end.

saved(#{shards := Shards} = Context, #{segments := Target, keys := Keys} = Places, Tell) ->
    Stream = warp_backup_stream:number(Context),
    ok = ok_of(warp_backup_target:can_create(Target)),
    {Backup, Number} = opened(Context, Places),
    #{reaches := Reaches, segment := Last, hash := Hash} =
        ok(warp_backup_stream:last(Target, Number, Stream, Shards)),
    Covered = ok(warp_backup_stream:covered(Keys, Number)),
    Handles = [{N, ok(with_shard(Context, N, fun(Handle) -> {ok, Handle} end))} || N <- lists:seq(0, Shards - 1)],
    ok = not_forked(Handles, Reaches),
    {Time, _Run, Positions} = ok(cut(Context, Handles)),
    Parts = [{Handle, N, {From, Run, To}, maps:get(N, Covered, 0)}
             || {N, Handle} <- Handles, #{N := {From, Run}} <- [Reaches], {Of, To} <- Positions, Of =:= N],
    Report = #{cut => Last, at => Time, segments => 0, key_pages => 0, rows => 0, events => 0, bytes => 0},
    IsNew = Last =:= 0 orelse lists:any(fun({_, _, {From, _, To}, _}) -> To > From end, Parts),
    Keyless = [{N, To} || {_, N, {_, _, To}, Up} <- Parts, To > Up],
    _ = [ok = ok_of(keys(Context, N, To)) || {N, To} <- Keyless],
    {ok, Saving} = warp_nif:save(Backup, {Stream, Shards, atom_to_binary(node()), Last, Hash}, Time, Parts),
    Stored = case IsNew of true -> segments(Saving, Stream, Places, Tell, Report); false -> Report end,
    case IsNew orelse Keyless =/= [] of
        true -> pages(Saving, Places, Tell, Stored);
        false -> Stored
    end.

opened(#{name := Name, shards := Shards} = Context, #{segments := Target, master := Master} = Places) ->
    case warp_backup_target:read(Target, ?OBJECT) of
        {ok, Object} ->
            case ok(warp_nif:backup_about(Object)) of
                #{context := Name, shards := Shards, number := Number} ->
                    {ok(warp_backup_master:open(Master, Object)), Number};
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
not_forked(Handles, Reaches) ->
    lists:foreach(
        fun({N, Handle}) ->
            case Reaches of
                #{N := {0, _}} -> ok;
                #{N := {Position, Run}} ->
                    case ok(warp_nif:run_of(Handle, Position)) of
                        Run -> ok;
                        _ -> throw({error, {forked, #{shard => N, position => Position}}})
                    end
            end
        end,
        Handles).

cut(Context, Handles) ->
    case warp_context:registered(Context, journal) of
        {ok, Journal} -> unavailable(warp_nif:cut(Journal, [Handle || {_, Handle} <- Handles]), Handles);
        none -> {error, interrupted}
    end.

unavailable({error, closed}, [{N, _} | _]) -> {error, {shard_unavailable, N}};
unavailable(Result, _Handles) -> Result.

keys(Context, N, To) ->
    with_shard(Context, N, fun(Handle) -> warp_nif:make_keys(Handle, To) end).

with_shard(Context, N, Fun) -> warp_context:with_shard(Context, N, Fun).

pages(Saving, #{keys := Target} = Places, Tell, #{key_pages := Count, bytes := Bytes} = Report) ->
    case ok(warp_nif:save_page(Saving)) of
        {Shard, Page, Object} ->
            ok = ok_of(warp_backup_target:replace(Target, warp_backup_stream:page(Shard, Page), Object)),
            Next = Report#{key_pages := Count + 1, bytes := Bytes + byte_size(Object)},
            _ = Tell(Next),
            pages(Saving, Places, Tell, Next);
        none ->
            ok = ok_of(warp_backup_target:replace(Target, warp_backup_stream:index(), warp_nif:save_index(Saving))),
            Report
    end.

segments(Saving, Stream, #{segments := Target} = Places, Tell, Report) ->
    case ok(warp_nif:save_segment(Saving)) of
        none ->
            Report;
        {Number, _Hash, _IsLast, Rows, Events, Object} ->
            Name = warp_backup_stream:name(Stream, Number),
            case warp_backup_target:create(Target, Name, Object) of
                ok -> ok;
                exists -> ok = ok_of(same(warp_backup_target:read(Target, Name), Object));
                {error, _} = Error -> throw(Error)
            end,
            #{segments := N, rows := R, events := E, bytes := B} = Report,
            Next = Report#{cut := Number, segments := N + 1, rows := R + Rows, events := E + Events,
                           bytes := B + byte_size(Object)},
            _ = Tell(Next),
            segments(Saving, Stream, Places, Tell, Next)
    end.

%% A target that stored it may have failed to say so.
same({ok, Object}, Object) -> ok;
same({error, _} = Error, _Object) -> Error;
same(_Another, _Object) -> {error, target_in_use}.

ok({ok, Value}) -> Value;
ok({error, _} = Error) -> throw(Error).

ok_of(ok) -> ok;
ok_of({error, _} = Error) -> throw(Error).

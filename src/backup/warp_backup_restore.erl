%% @private Restores a context from a backup into a folder where there is none.
%%
%% It works in a folder beside, which gets the context's name when it is complete. Whoever is interrupted restores the
%% same cut again, and goes on where it was.
-module(warp_backup_restore).

-export([run/4, check/3]).

-export_type([report/0]).

-type report() :: #{
    context := binary(),
    shards := pos_integer(),
    cut := pos_integer(),
    at := warp_core:micros(),
    %% The newest cut, if it could not be taken since its keys are not stored.
    left_out := none | pos_integer(),
    segments := non_neg_integer(),
    rows := non_neg_integer(),
    events := non_neg_integer(),
    %% Parts of lives in these segments whose keys were erased, so that nothing of them was restored.
    erased := non_neg_integer(),
    %% Rows of which events were cleared, since what they were about was deleted.
    cleared := non_neg_integer()
}.

%% Says of a folder that is not complete what is being restored.
-define(MARK, "restoring").
-define(LOCK_PATIENCE_MS, 1000).

%% @doc Restores a cut, or what it has of one entity.
%%
%% Errors: `{not_empty, Path}': there is a context; `{other_restore, Path}': the folder beside has another cut or
%% backup, begun earlier; `{no_such_cut, Until}'; `no_backup': the target has none; `no_keys': the place of the keys has
%% none; `{backup_damaged, Message}', `{key_unknown, Message}', with which nothing has its name; `merged_meanwhile';
%% those of the master key, the targets and the files.
-spec run(warp_backup_run:places(), DataDir :: binary(),
          {warp_backup_cuts:until(), Entity :: all | binary()},
          {warp_nif:access(), [warp_nif:kind()], fun((map()) -> term())}) -> {ok, report()} | {error, term()}.
run(Places, DataDir, {Until, Entity}, {Access, Kinds, Tell}) ->
    try
        {Backup, #{context := Name, shards := Shards} = About} = opened(Places),
        Path = filename:join(DataDir, Name),
        ok = no_context(Path),
        {Cut, All} = chosen(Places, About, Until),
        Dir = <<Path/binary, ".restoring">>,
        {ok, Lock} = locked(Dir, Access),
        try
            ok = ok_of(marked(Dir, About, {Cut, Entity, lists:max([N || {_, N, _, _} <- All])}, Access)),
            Only = case Entity of all -> nil; _ -> Entity end,
            Restoring = ok(warp_nif:restore(Backup, Dir, {Name, Shards, Only}, Access, Kinds)),
            Counts =
                try
                    Of = restored(Restoring, Places, About, {Cut, All}, restore, Tell),
                    ok = ok_of(warp_nif:restore_finish(Restoring)),
                    Of
                after
                    %% What was written before an error is kept. What keeps it from that is the error already.
                    _ = warp_nif:restore_close(Restoring)
                end,
            ok = ok_of(warp_nif:establish(Lock)),
            ok = no_context(Path),
            ok = ok_of(warp_nif:rename_folder(Dir, Path)),
            %% NOTE: not before. Without it nobody could tell which cut a folder has that did not get its name.
            ok = ok_of(file_deleted(filename:join(Path, ?MARK))),
            {ok, report(About, Cut, Counts)}
        after
            ok = warp_nif:unlock(Lock)
        end
    catch
        throw:{error, _} = Error -> Error
    end.

%% @doc Opens everything that is in the segments up to a cut, and keeps nothing. Errors: as above.
-spec check(warp_backup_run:places(), warp_backup_cuts:until(), fun((map()) -> term())) ->
    {ok, report()} | {error, term()}.
check(Places, Until, Tell) ->
    try
        {Backup, #{context := Name, shards := Shards} = About} = opened(Places),
        {Cut, All} = chosen(Places, About, Until),
        %% Nothing is made there.
        Restoring = ok(warp_nif:restore(Backup, <<"/nonexistent">>, {Name, Shards, nil}, owner, [])),
        Counts = restored(Restoring, Places, About, {Cut, All}, check, Tell),
        {ok, report(About, Cut, Counts)}
    catch
        throw:{error, _} = Error -> Error
    end.

opened(#{segments := Target, master := Master}) ->
    case warp_backup_target:read(Target, <<"backup">>) of
        {ok, Object} -> {ok(warp_backup_master:open(Master, Object)), ok(warp_nif:backup_about(Object))};
        not_found -> throw({error, no_backup});
        {error, _} = Error -> throw(Error)
    end.

%% The cut, and all segments.
chosen(#{segments := Target, keys := Keys}, #{number := Backup}, Until) ->
    {Cut, LeftOut} = ok(warp_backup_cuts:restorable(Target, Keys, Backup, Until)),
    {Cut#{left_out => LeftOut}, ok(warp_backup_stream:numbers(Target))}.

restored(Restoring, #{segments := Target, keys := Keys}, #{number := Backup}, {#{cut := Cut}, All}, How, Tell) ->
    Count = length(All),
    Of = Count + length([Segment || {_, Number, _, _} = Segment <- All, Number =< Cut]),
    Looked = fun(Done) -> Tell(#{done => Done, 'of' => Of, events => 0}) end,
    Used = ok(warp_backup_read:load(Restoring, Target, Keys, {Backup, All, Cut, Looked})),
    Before = Of - length(Used),
    Read = fun(Done, #{events := Events}) -> Tell(#{done => Before + Done, 'of' => Of, events => Events}) end,
    Counts = ok(warp_backup_read:segments(Restoring, Target, Used, How, Read)),
    Counts#{segments => length(Used)}.

report(#{context := Name, shards := Shards}, Cut, Counts) ->
    maps:merge(Counts#{context => Name, shards => Shards}, maps:with([cut, at, left_out], Cut)).

no_context(Path) ->
    case file:list_dir(Path) of
        {ok, [_ | _]} -> throw({error, {not_empty, Path}});
        {ok, []} -> ok;
        {error, enoent} -> ok;
        {error, Reason} -> throw({error, io_error(Path, Reason)})
    end.

locked(Dir, Access) ->
    case warp_nif:lock(Dir, ?LOCK_PATIENCE_MS, Access) of
        {ok, Lock} -> {ok, Lock};
        {error, _} = Error -> throw(Error)
    end.

%% Goes on with the same cut only. What a crash has left before the mark was there is nothing.
%%
%% NOTE: when the backup has more segments than when this was begun, it begins anew: they may say that an entity was
%% deleted whose rows are in the files already.
marked(Dir, #{number := Backup}, {#{cut := Cut}, Entity, Last}, Access) ->
    Path = filename:join(Dir, ?MARK),
    Of = case Entity of all -> <<"all">>; _ -> binary:encode_hex(crypto:hash(sha256, Entity)) end,
    Same = iolist_to_binary(io_lib:format("~b ~b ~ts ", [Backup, Cut, Of])),
    Mark = <<Same/binary, (integer_to_binary(Last))/binary, "\n">>,
    case file:read_file(Path) of
        {ok, Mark} ->
            ok;
        {ok, <<Same:(byte_size(Same))/binary, _/binary>>} ->
            ok = ok_of(warp_nif:delete_files(Dir, <<"shard-">>)),
            ok = none_left(Dir),
            warp_nif:put_file(Path, Mark, Access, replace);
        {ok, _} ->
            {error, {other_restore, Dir}};
        {error, enoent} ->
            warp_nif:put_file(Path, Mark, Access, replace);
        {error, Reason} ->
            {error, io_error(Path, Reason)}
    end.

%% What cannot be deleted stays, and must not be gone on with.
none_left(Dir) ->
    case file:list_dir_all(Dir) of
        {ok, Names} ->
            _ = [throw({error, io_error(filename:join(Dir, Name), eacces)}) || "shard-" ++ _ = Name <- Names],
            ok;
        {error, Reason} ->
            throw({error, io_error(Dir, Reason)})
    end.

file_deleted(Path) ->
    case file:delete(Path) of
        ok -> ok;
        {error, Reason} -> {error, io_error(Path, Reason)}
    end.

io_error(Path, Reason) -> {io_error, unicode:characters_to_binary([Path, ": ", file:format_error(Reason)])}.

ok({ok, Value}) -> Value;
ok({error, _} = Error) -> throw(Error).

ok_of(ok) -> ok;
ok_of({error, _} = Error) -> throw(Error).

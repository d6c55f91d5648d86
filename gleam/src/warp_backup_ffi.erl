%% The engine's backups as the types of `warp/backup'. This module reshapes terms and decides nothing.
-module(warp_backup_ffi).

-export([run/2, start/2, merge/2, stop/2, forget/2, list/1, verify/1, check/1, restore/2, restore_entity/3]).

%% A `Backup' of `warp/backup'.
-type backup() :: {backup, Folder :: binary(), Keys :: option(), Master :: option(), Every :: integer(),
                   Keep :: atom() | tuple(), Until :: 'end' | tuple(), owner | umask, Stored :: fun((tuple()) -> nil),
                   Progress :: fun((tuple()) -> nil)}.
-type option() :: none | {some, term()}.

-spec run(warp_core:ctx(), backup()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
run(Ctx, Backup) ->
    map(fun report/1, warp_backup:run(Ctx, written(Backup))).

-spec start(warp_core:ctx(), backup()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
start(Ctx, {backup, _, _, _, Every, _, _, _, _, _} = Backup) ->
    map(fun report/1, warp_backup:start(Ctx, (written(Backup))#{every => Every})).

-spec merge(warp_core:ctx(), backup()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
merge(Ctx, Backup) ->
    map(fun report/1, warp_backup:merge(Ctx, written(Backup))).

written({backup, Folder, Keys, Master, _Every, Keep, _Until, _Access, Stored, _Progress}) ->
    Tell = fun(Report) -> Stored(report(Report)) end,
    with(keep, keep(Keep),
         with(keys_to, Keys, with(master_key, master(Master), #{to => Folder, progress => Tell}))).

keep(as_before) -> none;
keep(keep_all) -> {some, all};
keep({last_cuts, Count}) -> {some, #{cuts => Count}};
keep({age, Millis}) -> {some, #{age => Millis}};
keep({last_cuts_and_age, Count, Millis}) -> {some, #{cuts => Count, age => Millis}}.

report(#{cut := Cut, at := At, segments := Segments, key_pages := Pages, rows := Rows, events := Events,
         bytes := Bytes, merged := Merged}) ->
    {report, Cut, At, Segments, Pages, Rows, Events, Bytes, Merged}.

-spec stop(warp_core:ctx(), binary()) -> {ok, nil} | {error, warp_error_ffi:error()}.
stop(Ctx, Folder) ->
    nil(warp_backup:stop(Ctx, Folder)).

-spec forget(warp_core:ctx(), binary()) -> {ok, nil} | {error, warp_error_ffi:error()}.
forget(Ctx, Folder) ->
    nil(warp_backup:forget(Ctx, Folder)).

-spec list(backup()) -> {ok, [tuple()]} | {error, warp_error_ffi:error()}.
list({backup, Folder, _, _, _, _, _, _, _, _}) ->
    map(fun(Cuts) -> [point(Cut) || Cut <- Cuts] end, warp_backup:list(Folder)).

point(#{cut := Cut, at := At, segments := Segments, bytes := Bytes}) ->
    {point, Cut, At, Segments, Bytes}.

-spec verify(backup()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
verify({backup, Folder, _, _, _, _, _, _, _, _} = Backup) ->
    map(fun(#{segments := Segments, cuts := Cuts} = Report) ->
        Opened = case Report of #{rows := _} -> {some, opened(Report)}; #{} -> none end,
        {verified, Segments, Cuts, Opened}
    end, warp_backup:verify(Folder, read(Backup))).

opened(#{rows := Rows, events := Events, erased := Erased, cleared := Cleared}) ->
    {opened, Rows, Events, Erased, Cleared}.

-spec check(backup()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
check({backup, Folder, Keys, _, _, _, _, _, _, _}) ->
    map(fun(#{cut := Cut, at := At, keys_at := KeysAt, older := Older}) -> {checked, Cut, At, KeysAt, Older} end,
        warp_backup:check(Folder, with(keys_from, Keys, #{}))).

-spec restore_entity(binary(), binary(), backup()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
restore_entity(DataDir, Entity, Backup) ->
    restore(DataDir, Backup, #{entity => Entity}).

-spec restore(binary(), backup()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
restore(DataDir, Backup) ->
    restore(DataDir, Backup, #{}).

restore(DataDir, {backup, Folder, _, _, _, _, _, _, _, _} = Backup, More) ->
    map(fun(#{context := Context, shards := Shards, cut := Cut, at := At, segments := Segments} = Report) ->
        LeftOut = case Report of #{left_out := none} -> none; #{left_out := Newest} -> {some, Newest} end,
        {restored, Context, Shards, Cut, At, LeftOut, Segments, opened(Report)}
    end, warp_backup:restore(DataDir, Folder, maps:merge(read(Backup), More))).

read({backup, _Folder, Keys, Master, _Every, _Keep, Until, Access, _Stored, Progress}) ->
    Tell = fun(#{done := Done, 'of' := Of, events := Events}) -> Progress({progress, Done, Of, Events}) end,
    with(keys_from, Keys,
         with(master_key, master(Master), #{until => Until, file_access => Access, progress => Tell})).

with(_Key, none, Options) -> Options;
with(Key, {some, Value}, Options) -> Options#{Key => Value}.

master({some, {env, Name}}) -> {some, {env, unicode:characters_to_list(Name)}};
master({some, {service, Name, Wrap, Unwrap}}) -> {some, #{name => Name, wrap => Wrap, unwrap => Unwrap}};
master(Given) -> Given.

map(Fun, {ok, Value}) -> {ok, Fun(Value)};
map(_Fun, {error, Reason}) -> {error, warp_error_ffi:reason(Reason)}.

nil(ok) -> {ok, nil};
nil({error, Reason}) -> {error, warp_error_ffi:reason(Reason)}.

%% @doc Backups of a context, in which a deleted entity is dead data: each life of an entity is sealed with a key of its
%% own, and deleting the entity destroys that key, also in the backups that were taken before.
%%
%% A backup is kept in a target: a folder, which may be one of another machine that is mounted, or a bucket of
%% S3-compatible storage (see `t:warp_backup_s3:given/0'). It is made of segments, which never change, and of key pages,
%% which each run replaces. The key pages are sealed with the backup's key, and that is wrapped by a master key, which
%% Warp reads when it needs it, and never keeps. Who loses the master key, or the key pages, can restore nothing.
%%
%% Each run adds a cut: the state of the whole context between two commits, with each saga whole or under way. A restore
%% gives a cut, without what was deleted since.
%%
%% In a cluster one node makes the run for all, which hold their commits for a moment, so that the cut is of all of
%% them. Only that node needs the target and the master key.
-module(warp_backup).

-export([run/2, run/3, start/2, merge/2, stop/2, forget/2]).
-export([list/1, list/2, verify/1, verify/2, check/1, check/2, restore/2, restore/3]).
-export([about/1, new_master_key/1, rewrap/2]).

-export_type([options/0, report/0, cut/0, error/0]).
-export_type([restore_options/0, restore_report/0, verify_report/0, check_report/0, about/0]).

-type options() :: #{
    %% What to back up to: the path of a folder, or a bucket of S3-compatible storage, `#{s3 => Bucket, ...}' or
    %% `<<"s3://BUCKET/PREFIX?endpoint=...">>'.
    to := warp_backup_target:given(),
    %% Where the key pages are kept, if elsewhere: who has both and the master key can read the backup.
    keys_to => warp_backup_target:given(),
    %% The master key: `{file, Path}' of a file with 64 hexadecimal digits, such as `openssl rand -hex 32' makes, that
    %% only its owner may read; `{env, Name}' of a variable; or `#{name, wrap, unwrap}', functions that have a
    %% service for keys wrap and unwrap the backup's key.
    master_key := warp_backup_master:given(),
    %% Which cuts are kept: `all'; the last so many; or all that are needed to restore any time of the last so many
    %% milliseconds. With both, what either of them keeps. Segments up to the oldest of these cuts may be merged.
    keep => warp_backup_keep:keep(),
    %% Is called with the report so far after each object that was stored, and after each that was read for merging.
    progress => fun((report()) -> term())
}.
-type report() :: #{
    %% The number of the cut that was made, or of the last one where nothing has changed since.
    cut := non_neg_integer(),
    %% Up to when the backup has everything.
    at := warp_core:micros(),
    segments := non_neg_integer(),
    key_pages := non_neg_integer(),
    rows := non_neg_integer(),
    events := non_neg_integer(),
    bytes := non_neg_integer(),
    %% How many older segments were merged into others, or left because nobody reads them.
    merged := non_neg_integer()
}.
-type cut() :: warp_backup_cuts:cut().
-type restore_options() :: #{
    %% Where the backup is.
    from := warp_backup_target:given(),
    keys_from => warp_backup_target:given(),
    master_key => warp_backup_master:given(),
    %% Which cut. Default: `end', the last one.
    until => warp_backup_cuts:until(),
    %% Only this entity: the context then has no other. Default: `all'.
    entity => all | binary(),
    %% Who may read the files that are made. Default: `owner'.
    file_access => owner | umask,
    progress => fun((#{done := non_neg_integer(), 'of' := non_neg_integer(), events := non_neg_integer()}) -> term())
}.
-type restore_report() :: warp_backup_restore:report().
-type verify_report() :: #{
    segments := non_neg_integer(),
    cuts := non_neg_integer(),
    %% Only where the backup was opened with its keys.
    rows => non_neg_integer(),
    events => non_neg_integer(),
    erased => non_neg_integer(),
    cleared => non_neg_integer()
}.
-type check_report() :: warp_backup_cuts:check().
-type about() :: #{
    context := binary(),
    shards := pos_integer(),
    %% When the backup was begun.
    created := warp_core:micros(),
    %% What has wrapped its key: a master key, or functions with this name.
    wrapped_by := master_key | binary()
}.
-type error() ::
    context_stopped
    | not_started
    | running
    | interrupted
    | no_backup
    | no_keys
    | target_in_use
    | merged_meanwhile
    | wrong_master_key
    | disk_full
    | {no_master_key, Why :: binary()}
    | {master_key_refused, Why :: term()}
    | {other_backup, #{context := binary(), shards := pos_integer()}}
    | {forked, #{shard := non_neg_integer(), position := pos_integer()}}
    | {no_such_cut, warp_backup_cuts:until()}
    | {not_empty | other_restore, Path :: binary()}
    | {backup_damaged | key_unknown, Message :: binary()}
    | {newer_format, binary(), integer()}
    | {unreachable, term()}
    | {storage_refused | no_store_program, Message :: binary()}
    | {shard_unavailable, non_neg_integer()}
    %% Another restore writes there.
    | {data_dir_in_use, binary()}
    | {io_error | corrupt | internal, Message :: binary()}
    | warp_check:error().

%% @doc As {@link run/3}, with `to' among the options.
-spec run(warp_core:ctx(), options()) -> {ok, report()} | {error, error()}.
run(Ctx, Options) -> planned(Ctx, Options, [as_before()], fun warp_backup_server:run/3).

%% @doc Backs a context up once. Only what is new since the last run is read and stored. A run
%% that was interrupted is made again.
%%
%% The report has the number of the cut (`cut'), up to when the backup has everything (`at'), and how many segments, key
%% pages, rows, events and bytes were stored: 0 where nothing has changed since the last cut, whose number it has then.
%%
%% With `keep' Warp may merge some older segments afterwards: eight or more at a time, into one of 32 MiB of rows at
%% most, without what was erased. The default is what {@link start/2} was called with, or else `all', and what is given
%% counts for this run alone. Where merging fails the run has not: see `unmerged' in `warp_core:stats/1'.
%%
%% Errors: `{bad_option, Name, Why}'; `{no_master_key, Why}' when it cannot be read; `wrong_master_key' when the backup
%% was begun with another one; `{master_key_refused, Why}'; `{other_backup, #{context, shards}}': the target has a
%% backup of that context; `target_in_use': another context writes to it; `{forked, #{shard, position}}': the context
%% was put back to an older state and has gone on, so that it is not what the backup goes on from; begin a new backup
%% in another target. `{shard_unavailable, N}' while a shard is not open, `{node_unavailable, Node}' while a node of a
%% cluster cannot be reached. `disk_full', `{io_error, Message}',
%% `{backup_damaged, Message}'. `context_stopped'.
-spec run(warp_core:ctx(), warp_backup_target:given(), map()) -> {ok, report()} | {error, error()}.
run(Ctx, To, Options) -> run(Ctx, with(to, To, Options)).

%% @doc Backs a context up again and again, every `every' milliseconds (60000), from now on until the context stops or
%% {@link stop/2} is called, and at once when an entity is deleted. Waits for the first run, and gives its report.
%% Other options are those of {@link run/3}; `keep' is `all' unless given. Called again for the same target it changes
%% how.
%%
%% What fails later is in the log and in `warp_core:stats/1', under `backups', and is tried again.
%%
%% Errors: as for {@link run/3}, with nothing begun.
-spec start(warp_core:ctx(), map()) -> {ok, report()} | {error, error()}.
start(Ctx, Options) ->
    Every = fun(Millis) -> warp_check:integer(Millis, 1000, warp_deadline:longest()) end,
    planned(Ctx, Options, [{every, 60000, Every}, {keep, all, fun warp_backup_keep:check/1}],
            fun warp_backup_server:start/3).

%% @doc Makes a run as {@link run/3} does, and then goes through all segments up to the oldest cut that is kept: merges
%% those that fit into one of 32 MiB of rows, and writes again without it what has a quarter or more that was erased.
%% It reads all of them. The cuts before the oldest one that is kept are no longer there.
%%
%% Options are those of {@link run/2}, with `keep'. Errors: those of {@link run/3}, also where the run was made and the
%% merging failed: segments are then as they were, or merged.
-spec merge(warp_core:ctx(), options()) -> {ok, report()} | {error, error()}.
merge(Ctx, Options) ->
    planned(Ctx, Options, [{keep, required, fun warp_backup_keep:check/1}], fun warp_backup_server:merge/3).

as_before() ->
    {keep, as_before, fun(as_before) -> {ok, as_before}; (Given) -> warp_backup_keep:check(Given) end}.

planned(Ctx, Options, More, Ask) ->
    Given = [{to, required, fun warp_backup_target:check/1},
             {keys_to, none, fun place/1},
             {master_key, required, fun warp_backup_master:check/1},
             {progress, fun(_) -> ok end, fun function/1}],
    case {warp_check:options(Options, Given ++ More), warp_context:of_handle(Ctx)} of
        {{ok, #{to := To, keys_to := Keys, master_key := Master, keep := Keep, progress := Tell} = Checked},
         {ok, Context}} ->
            Every = maps:get(every, Checked, as_before),
            Ask(Context, #{target => To, keys => Keys, master => Master, every => Every, keep => Keep,
                           progress => Tell}, infinity);
        {{error, _} = Error, _} -> Error;
        {_, not_found} -> {error, context_stopped}
    end.

%% @doc Ends the backups to a target that {@link start/2} has begun; a run that is under way ends first. Deletions still
%% wait until their entities are dead data there. Errors: `not_started'; `{bad_option, to, Why}'; `context_stopped'.
-spec stop(warp_core:ctx(), warp_backup_target:given()) -> ok | {error, error()}.
stop(Ctx, To) -> with_target(Ctx, To, fun warp_backup_server:stop/2).

%% @doc Says that a target is gone, with all that was backed up to it: deletions wait for it no more. Errors: `running',
%% while a run is under way; as for {@link stop/2}.
-spec forget(warp_core:ctx(), warp_backup_target:given()) -> ok | {error, error()}.
forget(Ctx, To) -> with_target(Ctx, To, fun warp_backup_server:forget/2).

with_target(Ctx, To, Ask) ->
    case {warp_backup_target:check(To), warp_context:of_handle(Ctx)} of
        {{ok, Target}, {ok, Context}} -> Ask(Context, Target);
        {{error, Why}, _} -> {error, {bad_option, to, Why}};
        {_, not_found} -> {error, context_stopped}
    end.

%% @doc Makes a master key: writes 64 random hexadecimal digits to a file that is not there, which only its owner may
%% read. Keep a copy of it elsewhere, apart from the backups. `exists': there is something of that name, which stays as
%% it is. Errors: `{bad_option, file, Why}'; `disk_full', `{io_error, Message}'.
-spec new_master_key(file:name_all()) -> ok | exists | {error, error()}.
new_master_key(File) ->
    case warp_context_options:data_dir(File) of
        {ok, Path} -> warp_backup_master:new(Path);
        {error, Why} -> {error, {bad_option, file, Why}}
    end.

%% @doc Of which context a backup is, when it was begun, and what has wrapped its key. Needs no key. Errors:
%% `no_backup', `{backup_damaged, Message}', those of the target.
-spec about(warp_backup_target:given()) -> {ok, about()} | {error, error()}.
about(From) ->
    from(From, #{}, [], fun(#{segments := Target}, _) ->
        case object(Target) of
            {ok, #{context := Context, shards := Shards, created := Created, wrapping := Wrapping}} ->
                {ok, #{context => Context, shards => Shards, created => Created,
                       wrapped_by => warp_backup_master:wrapped_by(Wrapping)}};
            {error, _} = Error -> Error
        end
    end).

%% @doc Has a backup opened by another master key, `new_master_key', in place of `master_key', which opens it no more.
%% Only the key's wrapping changes, one small object, whole or not at all: after an interruption one of both opens the
%% backup, and calling again ends it. What the new one opens already stays as it is.
%%
%% Give the new one to those who back up, at once: a run with the old one ends with `wrong_master_key'. Who has an older
%% copy of the target and the old master key can open what that copy has.
%%
%% Errors: `{missing_option, Name}', `{bad_option, Name, Why}'; `no_backup'; `wrong_master_key': neither of both opens
%% it; those of a master key as for {@link run/3}; `{backup_damaged, Message}', those of the target.
-spec rewrap(warp_backup_target:given(), #{master_key := warp_backup_master:given(),
                                           new_master_key := warp_backup_master:given()}) -> ok | {error, error()}.
rewrap(To, Options) ->
    Given = [{Name, required, fun warp_backup_master:check/1} || Name <- [master_key, new_master_key]],
    from(To, Options, Given, fun(#{segments := Target}, #{master_key := Old, new_master_key := New}) ->
        case warp_backup_target:read(Target, <<"backup">>) of
            {ok, Object} -> rewrapped(warp_backup_master:rewrap(Old, New, Object), Target);
            not_found -> {error, no_backup};
            {error, _} = Error -> Error
        end
    end).

rewrapped({ok, unchanged}, _Target) -> ok;
rewrapped({ok, Object}, Target) -> warp_backup_target:replace(Target, <<"backup">>, Object);
rewrapped({error, _} = Error, _Target) -> Error.

%% @equiv list(From, #{})
-spec list(warp_backup_target:given()) -> {ok, [cut()]} | {error, error()}.
list(From) -> list(From, #{}).

%% @doc The cuts of a backup, the oldest first: the number of each, its time in microseconds since 1970, and how many
%% segments and bytes there are up to it. Needs no key. Errors: `no_backup', `{backup_damaged, Message}', those of the
%% target.
-spec list(warp_backup_target:given(), #{}) -> {ok, [cut()]} | {error, error()}.
list(From, Options) ->
    from(From, Options, [], fun(#{segments := Target}, _) ->
        case warp_backup_cuts:all(Target) of
            {ok, []} -> {error, no_backup};
            Found -> Found
        end
    end).

%% @equiv verify(From, #{})
-spec verify(warp_backup_target:given()) -> {ok, verify_report()} | {error, error()}.
verify(From) -> verify(From, #{}).

%% @doc Checks a backup. Without `master_key' that all segments are there and as they were written; with it also that
%% everything in them can be opened and is whole. Options are those of {@link restore/3}.
%%
%% Errors: `{backup_damaged, Message}' names each segment that is damaged, missing or exchanged; others as for
%% {@link restore/3}.
-spec verify(warp_backup_target:given(), map()) -> {ok, verify_report()} | {error, error()}.
verify(From, Options) ->
    from(From, Options, reading(none), fun(#{segments := Target, master := Master} = Places, Given) ->
        #{progress := Tell, until := Until} = Given,
        case {object(Target), warp_backup_stream:numbers(Target), warp_backup_cuts:all(Target)} of
            {{ok, #{number := Backup}}, {ok, Segments}, {ok, Cuts}} ->
                Report = #{segments => length(Segments), cuts => length(Cuts)},
                case Master of
                    none -> without_keys(Target, Backup, Segments, Tell, Report);
                    _ -> with_keys(warp_backup_restore:check(Places, Until, Tell), Report)
                end;
            {{error, _} = Error, _, _} -> Error;
            {_, {error, _} = Error, _} -> Error;
            {_, _, {error, _} = Error} -> Error
        end
    end).

object(Target) ->
    case warp_backup_target:read(Target, <<"backup">>) of
        {ok, Object} -> warp_nif:backup_about(Object);
        not_found -> {error, no_backup};
        {error, _} = Error -> Error
    end.

without_keys(Target, Backup, Segments, Tell, Report) ->
    Of = length(Segments),
    Looked = fun(Done) -> Tell(#{done => Done, 'of' => Of, events => 0}) end,
    case warp_backup_read:check(Target, Backup, {Segments, fun(_, _) -> ok end, Looked}) of
        {ok, [], _} -> {ok, Report};
        {ok, Damage, _} -> {error, {backup_damaged, unicode:characters_to_binary(lists:join("; ", Damage))}};
        {error, _} = Error -> Error
    end.

with_keys({ok, Counts}, Report) -> {ok, maps:merge(Report, maps:with([rows, events, erased, cleared], Counts))};
with_keys({error, _} = Error, _Report) -> Error.

%% @equiv check(From, #{})
-spec check(warp_backup_target:given()) -> {ok, check_report()} | {error, error()}.
check(From) -> check(From, #{}).

%% @doc Looks whether the key pages are as new as the segments. Where they are older, what is newer has no key, and a
%% key that was erased may still be there. Needs no key. `keys_from' as for {@link restore/3}.
%%
%% The report has the last cut and its time, when the key pages were written, and the shards whose keys are older than
%% their segments: none, if all is well. Errors: `no_backup'; `no_keys': there are no key pages; `{backup_damaged,
%% Message}'; those of the targets.
-spec check(warp_backup_target:given(), #{keys_from => warp_backup_target:given()}) ->
    {ok, check_report()} | {error, error()}.
check(From, Options) ->
    from(From, Options, [{keys_from, none, fun place/1}], fun(#{segments := Target, keys := Keys}, _) ->
        case object(Target) of
            {ok, #{number := Number, shards := Shards}} -> warp_backup_cuts:check(Target, Keys, Number, Shards);
            {error, _} = Error -> Error
        end
    end).

%% @doc As {@link restore/3}, with `from' among the options.
-spec restore(DataDir :: file:name_all(), restore_options()) -> {ok, restore_report()} | {error, error()}.
restore(DataDir, Options) ->
    case warp_context_options:data_dir(DataDir) of
        {ok, Dir} ->
            reading(Options, [{entity, all, fun entity/1} | reading(required)], fun(Places, Checked) ->
                #{until := Until, entity := Entity, file_access := Access, progress := Tell} = Checked,
                warp_backup_restore:run(Places, Dir, {Until, Entity}, {Access, warp_component:kinds(), Tell})
            end);
        {error, Why} ->
            {error, {bad_option, data_dir, Why}}
    end.

%% @doc Restores a context into `DataDir/CONTEXT', where there must be none, as it was at a cut, without what was
%% deleted since. Start it then as any other. A restore that was interrupted goes on when it is called again.
%%
%% With `entity => Id' the restored context has that entity alone, such as to look at what it was, or to export it.
%%
%% Sagas that were under way at the cut go on when the context starts, as after a crash at that moment.
%%
%% A run stores keys last. While one is under way, or after one that was interrupted, the newest cut can be left out:
%% the report has its number as `left_out', `none' else. Who asks for it by `{cut, N}' then gets `{key_unknown,
%% Message}'.
%%
%% Errors: `{bad_option, Name, Why}'; `no_backup'; `no_keys': the key pages are not there; `{no_such_cut, Until}';
%% `{not_empty, Path}': there is a context, or something else; `{other_restore, Path}': a restore of another cut was
%% interrupted there: remove that folder. `{backup_damaged, Message}' and `{key_unknown, Message}', with nothing
%% restored; `merged_meanwhile': segments were merged while they were read, so call it again; those of the master key as
%% for {@link run/3}; `disk_full', `{io_error, Message}'.
-spec restore(DataDir :: file:name_all(), From :: warp_backup_target:given(), map()) ->
    {ok, restore_report()} | {error, error()}.
restore(DataDir, From, Options) -> restore(DataDir, with(from, From, Options)).

reading(Master) ->
    [{keys_from, none, fun place/1},
     {master_key, Master, fun warp_backup_master:check/1},
     {until, 'end', fun until/1},
     {file_access, owner, fun(Access) -> warp_check:one_of(Access, [owner, umask]) end},
     {progress, fun(_) -> ok end, fun function/1}].

from(From, Options, Given, Fun) -> reading(with(from, From, Options), Given, Fun).

%% What is no map is refused with the other options.
with(Key, Value, #{} = Options) -> Options#{Key => Value};
with(_Key, _Value, NoMap) -> NoMap.

reading(Options, Given, Fun) ->
    case warp_check:options(Options, [{from, required, fun warp_backup_target:check/1} | Given]) of
        {ok, #{from := Target} = Checked} ->
            Master = maps:get(master_key, Checked, none),
            warp_backup_places:with(Target, maps:get(keys_from, Checked, none), fun(Places) ->
                Fun(Places#{master => Master}, Checked)
            end);
        {error, _} = Error ->
            Error
    end.

place(none) -> {ok, none};
place(Given) -> warp_backup_target:check(Given).

function(Fun) when is_function(Fun, 1) -> {ok, Fun};
function(_) -> {error, {not_a_function, 1}}.

entity(all) -> {ok, all};
entity(Id) when is_binary(Id), Id =/= <<>> -> {ok, Id};
entity(_) -> {error, not_a_binary}.

until('end') -> {ok, 'end'};
until({cut, N} = Until) when is_integer(N), N > 0 -> {ok, Until};
until({time, T} = Until) when is_integer(T) -> {ok, Until};
until(_) -> {error, not_a_cut}.

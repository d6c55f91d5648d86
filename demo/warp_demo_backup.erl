%% Backs the context up, and restores that backup after an entity was deleted: everything comes back but that entity.
-module(warp_demo_backup).

-export([run/2, restore/4]).

-export_type([backup/0, restored/0]).

-type backup() :: #{to := file:filename_all(), key := file:filename_all(), cut := pos_integer(),
                    events := non_neg_integer(), bytes := non_neg_integer(), seconds := float()}.
-type restored() :: #{events := non_neg_integer(), entities := non_neg_integer(), seconds := float()}.

%% Makes a master key, and a backup.
-spec run(warp_demo_job:job(), Ctx :: term()) -> backup().
run(#{dir := Dir}, Ctx) ->
    To = filename:join(Dir, "backup"),
    Key = filename:join(Dir, "master-key"),
    ok = file:write_file(Key, [binary:encode_hex(crypto:strong_rand_bytes(32)), $\n]),
    ok = file:change_mode(Key, 8#600),
    say("~nBacking up to ~ts", [To]),
    case timer:tc(fun() -> warp_backup:run(Ctx, To, #{master_key => {file, Key}}) end) of
        {Micros, {ok, #{cut := Cut, events := Events, bytes := Bytes}}} ->
            Seconds = Micros / 1000000,
            say("  ~ts events in ~ts s, ~ts", [count(Events), decimal(Seconds), warp_demo_text:bytes(Bytes)]),
            #{to => To, key => Key, cut => Cut, events => Events, bytes => Bytes, seconds => Seconds};
        {_, {error, Reason}} ->
            stop("it could not be backed up: ~ts", [warp_error:format_error(Reason)])
    end.

%% Restores the backup that was made before the entity was deleted into another folder. The context must not run.
%% Compares the state of each other entity.
-spec restore(warp_demo_job:job(), backup(), Deleted :: binary(), [{binary(), map()}]) -> restored().
restore(#{dir := Dir, data := Data, shards := Shards}, #{to := To, key := Key, cut := Cut}, Deleted, States) ->
    DataDir = filename:join(Dir, "restored"),
    say("~nRestoring the backup that was made before that into ~ts", [DataDir]),
    Options = #{until => {cut, Cut}, master_key => {file, Key}},
    {Micros, Result} = timer:tc(fun() -> warp_backup:restore(DataDir, To, Options) end),
    Events = case Result of
        {ok, #{events := Restored}} -> Restored;
        {error, Reason} -> stop("it could not be restored: ~ts", [warp_error:format_error(Reason)])
    end,
    #{name := Aggregate} = Data:aggregate(),
    {ok, Ctx} = warp_core:start(#{context => Data:context(), data_dir => DataDir, shards => Shards,
                                  aggregates => [Data:aggregate()]}),
    Others = [Of || {Id, _} = Of <- States, Id =/= Deleted],
    Different = [Id || {Id, State} <- Others, warp_core:get(warp_core:entity(Ctx, Id), Aggregate) =/= {ok, State}],
    Left = warp_core:export(warp_core:entity(Ctx, Deleted)),
    ok = warp_core:stop(Ctx),
    Seconds = Micros / 1000000,
    case {Different, Left} of
        {[], {ok, []}} ->
            say("  ~ts events in ~ts s: ~ts entities are as they were, and the deleted one is not there",
                [count(Events), decimal(Seconds), count(length(Others))]),
            #{events => Events, entities => length(Others), seconds => Seconds};
        {[], _} ->
            stop("~ts was deleted, and the backup still has it", [Deleted]);
        {[First | _], _} ->
            stop("~b entities differ in what was restored, such as ~ts", [length(Different), First])
    end.

-spec stop(io:format(), [term()]) -> no_return().
stop(Format, Values) -> throw({stop, io_lib:format(Format, Values)}).

say(Format, Values) -> warp_demo_text:say(io_lib:format(Format, Values)).

count(Number) -> warp_demo_text:count(Number).

decimal(Seconds) -> warp_demo_text:decimal(Seconds, 2).

%% @private The NIF library. Which function runs on which scheduler stands in one table, in
%% `native/warp_nif/src/nifs/mod.rs'.
%%
%% What waits for the disk is done by threads of the library's own. Such a function has a NIF of the
%% same name with one more argument, a tag: the NIF only hands the work over, and the result comes
%% as a message with that tag.
-module(warp_nif).

-export([own/1, priv_dir/0]).
-export([shard_of/2, rules/1, pack/4, pack_dirty/4, keep/2, release/1]).
-export([json_encode/2, json_encode_dirty/3, json_decode/1, json_decode_dirty/1]).
-export([lock/3, establish/1, unlock/1, open/6, close/1]).
-export([exists/1, file_bytes/1, delete_files/2, open_files/0]).
-export([submit/5, submit_clearing/6, erase/2, clear/3, correct_time/4, pass/1, save_snapshot/5]).
-export([head/2, snapshot/3, page/6, check_ids/3, stats/1, fault/1]).
-export([open_entities/2, correlations/3]).
-export([last_row/2, follow/5, run_of/2]).
-export([projection_open/3, projection_execute/2, projection_execute_batch/2]).
-export([projection_read/4, projection_tidy/1, projection_trim/1, projection_close/1]).

-on_load(init/0).

-export_type([access/0, projection/0, lock/0, shard/0, rules/0, packed/0, packed_event/0, answer/0, stop/0, reason/0]).
-export_type([kind/0, retyping/0, followed/0]).

%% Who may read the files that are made.
-type access() :: owner | umask.
-opaque lock() :: reference().
-opaque shard() :: reference().
-opaque rules() :: reference().
-opaque projection() :: reference().
-opaque packed() :: reference().
%% An event as reading it back will give it, but for seq and time.
-type packed_event() ::
    {Type :: binary(), Payload :: map(), Aggregate :: binary(), Id :: binary() | undefined,
     SchemaVsn :: pos_integer(), Metadata :: map()}.
-type incarnation() :: non_neg_integer().
%% Why an append of a submission, and all behind it, was not taken.
-type stop() ::
    {duplicates, [{Index :: non_neg_integer(), warp_core:seq()}]}
    | {id_conflict, warp_core:seq()}
    | {reserved_id, binary()}.
%% What the process that called `submit', `erase', `clear' or `pass' gets, as `{warp_reply, answer()}'.
-type answer() ::
    {stored, incarnation()}
    | {stopped, incarnation(), Done :: non_neg_integer(), stop()}
    | {wrong_base, warp_core:seq()}
    | erased
    | cleared
    | corrected
    | no_event
    | passed
    | {failed, reason()}.
-type reason() ::
    disk_full | overloaded | closed | interrupted | changed
    %% `internal' is a bug of Warp's, and says so: no file and no disk is to blame for it.
    | {io_error | corrupt | internal, binary()}.
%% A kind of entities: what their ids begin with, and the aggregate of the row that closes one. No
%% prefix begins as another one does.
-type kind() :: {Prefix :: binary(), Closing :: binary()}.
%% What the types of cleared events become; the two have the same size. Other types stay.
-type retyping() :: [{Type :: binary(), Cleared :: binary()}].
%% Whose rows a follower sees: those of all entities but Warp's own, those of the entities whose ids
%% begin so, or all.
-type followed() :: users | {kind, Prefix :: binary()} | all.

-define(MISSING, erlang:nif_error(nif_not_loaded)).

%% How often, and for how long, a projection's file is tried that its last owner has not closed yet.
-define(CLAIM_PAUSE_MS, 5).
-define(CLAIM_PATIENCE_MS, 30000).
-define(LOCK_PAUSE_MS, 10).

%% What a thread of the library answers. There is no time limit: a thread always answers, after a
%% panic too, and what it does is bounded by the disk alone.
-define(ANSWER(Call),
    begin
        Tag = make_ref(),
        case Call of
            ok -> receive {Tag, Answer} -> Answer end;
            {error, _} = NotBegun -> NotBegun
        end
    end).

%% The environment variable is for packagers and tests: a library elsewhere, without extension.
init() ->
    Path =
        case os:getenv("WARP_NIF") of
            false -> filename:join(priv_dir(), "warp_nif");
            Given -> Given
        end,
    erlang:load_nif(Path, 0).

%% @doc The folder of the library, and of the program that runs queries.
-spec priv_dir() -> file:filename().
priv_dir() ->
    case code:priv_dir(warp_core) of
        {error, bad_name} ->
            Ebin = filename:dirname(code:which(?MODULE)),
            filename:join(filename:dirname(Ebin), "priv");
        Dir ->
            Dir
    end.

%% @doc A copy of a reference on the caller's heap, for a NIF on a dirty scheduler. What belongs to
%% a persistent term may be freed, when that is erased, while a call waits for such a scheduler.
-spec own(rules()) -> rules().
own(Reference) -> binary_to_term(term_to_binary(Reference)).

-spec shard_of(term(), pos_integer()) -> {ok, non_neg_integer()} | {error, term()}.
shard_of(_Id, _Shards) -> ?MISSING.

-spec rules([{binary(), Version :: pos_integer(), Judges :: boolean()}]) -> rules().
rules(_Aggregates) -> ?MISSING.

-spec pack(rules(), binary(), binary() | undefined, [map()]) ->
    {ok, packed(), Count :: pos_integer(), Bytes :: pos_integer(), HasIds :: boolean(),
     [packed_event()] | none} | {error, term()} | dirty.
pack(_Rules, _Entity, _DefaultAggregate, _Events) -> ?MISSING.

-spec pack_dirty(rules(), binary(), binary() | undefined, [map()]) ->
    {ok, packed(), Count :: pos_integer(), Bytes :: pos_integer(), HasIds :: boolean(),
     [packed_event()] | none} | {error, term()}.
pack_dirty(_Rules, _Entity, _DefaultAggregate, _Events) -> ?MISSING.

-spec keep(packed(), [non_neg_integer()]) -> {packed(), non_neg_integer(), pos_integer()}.
keep(_Packed, _Indexes) -> ?MISSING.

-spec release(packed()) -> ok.
release(_Packed) -> ?MISSING.

-spec json_encode(term(), Padded :: boolean()) -> {ok, binary()} | {error, term()} | dirty.
json_encode(_Term, _Padded) -> ?MISSING.

-spec json_encode_dirty(term(), Padded :: boolean(), MaxBytes :: pos_integer()) ->
    {ok, binary()} | {error, term()}.
json_encode_dirty(_Term, _Padded, _MaxBytes) -> ?MISSING.

-spec json_decode(binary()) -> {ok, map()} | {error, term()} | dirty.
json_decode(_Text) -> ?MISSING.

-spec json_decode_dirty(binary()) -> {ok, map()} | {error, term()}.
json_decode_dirty(_Text) -> ?MISSING.

%% @doc Locks a context's folder, which is tried for PatienceMs milliseconds while another context
%% has the lock.
-spec lock(binary(), non_neg_integer(), access()) -> {ok, lock()} | {error, term()}.
lock(Dir, PatienceMs, Access) ->
    IsTaken = fun({error, {data_dir_in_use, _}}) -> true; (_) -> false end,
    warp_retry:while(IsTaken, {?LOCK_PAUSE_MS, infinity}, warp_deadline:from(PatienceMs),
                     fun() -> ?ANSWER(try_lock(Dir, Access, Tag)) end).

try_lock(_Dir, _Access, _Tag) -> ?MISSING.

%% @doc How many files this process may have open, and how many it has.
-spec open_files() ->
    {Limit :: non_neg_integer() | infinity, Open :: non_neg_integer()} | {error, term()}.
open_files() -> ?ANSWER(open_files(Tag)).

open_files(_Tag) -> ?MISSING.

-spec establish(lock()) -> ok | {error, term()}.
establish(Lock) -> ?ANSWER(establish(Lock, Tag)).

establish(_Lock, _Tag) -> ?MISSING.

-spec unlock(lock()) -> ok.
unlock(Lock) -> ?ANSWER(unlock(Lock, Tag)).

unlock(_Lock, _Tag) -> ?MISSING.

%% @doc Whether there is a file of that name.
-spec exists(binary()) -> boolean() | {error, term()}.
exists(File) -> ?ANSWER(exists(File, Tag)).

exists(_File, _Tag) -> ?MISSING.

-spec file_bytes(binary()) -> {ok, non_neg_integer()} | {error, reason()}.
file_bytes(File) -> ?ANSWER(file_bytes(File, Tag)).

file_bytes(_File, _Tag) -> ?MISSING.

%% @doc Deletes the files in a folder whose names begin so. One that cannot be deleted stays.
-spec delete_files(Dir :: binary(), Prefix :: binary()) -> ok | {error, reason()}.
delete_files(Dir, Prefix) -> ?ANSWER(delete_files(Dir, Prefix, Tag)).

delete_files(_Dir, _Prefix, _Tag) -> ?MISSING.

%% @doc Opens a shard for the calling process. `claimed': an earlier owner's writer has not closed
%% the file yet. The shard keeps a list of the entities of these kinds that are open: those with no row
%% of the aggregate that closes them. A kind has to be among them from its first entity on.
-spec open(lock(), binary(), {Context :: binary(), Shard :: non_neg_integer(),
           Shards :: pos_integer()}, full | normal, pos_integer(), [kind()]) ->
    {ok, shard()} | {error, claimed | term()}.
open(Lock, File, Of, Durability, QueueLimit, Kinds) ->
    Opened = ?ANSWER(open(Lock, File, Of, Durability, QueueLimit, Kinds, Tag)),
    _ = [ok = own_shard(Shard) || {ok, Shard} <- [Opened]],
    Opened.

open(_Lock, _File, _Of, _Durability, _QueueLimit, _Kinds, _Tag) -> ?MISSING.

own_shard(_Shard) -> ?MISSING.

%% @doc Closes a shard, and waits until its file is closed.
-spec close(shard()) -> ok.
close(Shard) -> ?ANSWER(close(Shard, Tag)).

close(_Shard, _Tag) -> ?MISSING.

-spec submit(shard(), binary(), warp_core:seq(), [{packed(), warp_core:micros()}],
             Receipt :: term() | none) -> ok | {error, reason()}.
submit(_Shard, _Entity, _Base, _Appends, _Receipt) -> ?MISSING.

%% @doc As `submit', without a receipt. Clears the entity's events at these seqs in the same transaction,
%% as `clear' does, but for the bytes: those may stand in the write-ahead log until someone erases.
-spec submit_clearing(shard(), binary(), warp_core:seq(), [{packed(), warp_core:micros()}],
                      [warp_core:seq()], retyping()) -> ok | {error, reason()}.
submit_clearing(_Shard, _Entity, _Base, _Appends, _Seqs, _Types) -> ?MISSING.

-spec erase(shard(), binary()) -> ok | {error, reason()}.
erase(_Shard, _Entity) -> ?MISSING.

%% @doc Empties the payloads of events, and replaces the types that the caller names. All else of them
%% stays. `cleared' comes once no byte of the payloads is left.
-spec clear(shard(), [{binary(), [warp_core:seq()]}], retyping()) -> ok | {error, reason()}.
clear(_Shard, _Events, _Types) -> ?MISSING.

-spec correct_time(shard(), binary(), warp_core:seq(), warp_core:micros()) -> ok | {error, reason()}.
correct_time(_Shard, _Entity, _Seq, _RecordedAt) -> ?MISSING.

-spec pass(shard()) -> ok | {error, reason()}.
pass(_Shard) -> ?MISSING.

-spec save_snapshot(shard(), binary(), incarnation(),
                    {binary(), pos_integer(), warp_core:seq(), warp_core:micros()}, binary()) ->
    ok | {error, reason()}.
save_snapshot(_Shard, _Entity, _Incarnation, _Of, _State) -> ?MISSING.

-spec head(shard(), binary()) ->
    {ok, {incarnation(), warp_core:seq(), warp_core:micros()} | none} | {error, reason()}.
head(Shard, Entity) -> ?ANSWER(head(Shard, Entity, Tag)).

head(_Shard, _Entity, _Tag) -> ?MISSING.

-spec snapshot(shard(), incarnation(), binary()) ->
    {ok, {pos_integer(), warp_core:seq(), warp_core:micros(), binary()} | none}
    | {error, reason()}.
snapshot(Shard, Incarnation, Aggregate) -> ?ANSWER(snapshot(Shard, Incarnation, Aggregate, Tag)).

snapshot(_Shard, _Incarnation, _Aggregate, _Tag) -> ?MISSING.

-spec page(shard(), binary(), incarnation(), warp_core:seq(), pos_integer(),
           forward | backward) ->
    {ok, {incarnation(), [warp_core:event()], warp_core:seq() | done}} | {error, reason()}.
page(Shard, Entity, Incarnation, From, Limit, Direction) ->
    terms(?ANSWER(page(Shard, Entity, Incarnation, From, Limit, Direction, Tag))).

page(_Shard, _Entity, _Incarnation, _From, _Limit, _Direction, _Tag) -> ?MISSING.

-spec check_ids(shard(), binary(), packed()) -> {ok, none | stop()} | {error, reason()}.
check_ids(Shard, Entity, Packed) -> ?ANSWER(check_ids(Shard, Entity, Packed, Tag)).

check_ids(_Shard, _Entity, _Packed, _Tag) -> ?MISSING.

%% @doc The open entities of a kind that the shard was opened with; and what is wrong with open entities
%% that cannot be read, of whatever kind they are.
-spec open_entities(shard(), Prefix :: binary()) -> {ok, {[binary()], [binary()]}} | {error, reason()}.
open_entities(Shard, Prefix) -> ?ANSWER(open_entities(Shard, Prefix, Tag)).

open_entities(_Shard, _Prefix, _Tag) -> ?MISSING.

%% @doc Which correlations the events of an entity have, and the number of each event in its correlation:
%% of those events whose id is the `correlation' in their metadata, one of the infixes, and a decimal
%% number. Each pair comes once.
%%
%% The caller gives the form of the ids, since an entity can have millions of events with a correlation,
%% and only those of that form are kept in memory.
-spec correlations(shard(), binary(), Infixes :: [binary()]) ->
    {ok, [{Correlation :: binary(), Number :: non_neg_integer()}]} | {error, reason()}.
correlations(Shard, Entity, Infixes) -> ?ANSWER(correlations(Shard, Entity, Infixes, Tag)).

correlations(_Shard, _Entity, _Infixes, _Tag) -> ?MISSING.

-spec stats(shard()) -> map().
stats(_Shard) -> ?MISSING.

-spec fault({panic | fsync_fails | fail_at | stall | abort_after, non_neg_integer()} | off) -> ok | undefined.
fault(_Kind) -> ?MISSING.

%% @doc The incarnation of an entity, the seq of its last event and the position of its last row; none when it
%% has no events.
-spec last_row(shard(), binary()) ->
    {ok, {incarnation(), warp_core:seq(), Position :: pos_integer()} | none} | {error, reason()}.
last_row(Shard, Entity) -> ?ANSWER(last_row(Shard, Entity, Tag)).

last_row(_Shard, _Entity, _Tag) -> ?MISSING.

%% @doc The log behind a position: the rows of the entities that are followed, each with its events of the
%% aggregates given. A call reads about MaxBytes of the log, whoever's rows those are; the next one goes on
%% behind Last.
-spec follow(shard(), After :: non_neg_integer(), MaxBytes :: pos_integer(), followed(),
             Aggregates :: [binary()] | all) ->
    {ok, {[{Position :: pos_integer(), Entity :: binary(), First :: warp_core:seq(),
            Last :: warp_core:seq(), [warp_core:event()]}],
          Last :: non_neg_integer(), done | more}}
    | {error, reason()}.
follow(Shard, After, MaxBytes, Followed, Aggregates) ->
    terms(?ANSWER(follow(Shard, After, MaxBytes, Followed, Aggregates, Tag))).

follow(_Shard, _After, _MaxBytes, _Followed, _Aggregates, _Tag) -> ?MISSING.

%% The process that asked makes terms of the events: on a thread of the library's own, OTP 25 ends
%% itself over a map of more than 32 keys.
terms({ok, {Found, normal}}) -> found(Found);
terms({ok, {Found, dirty}}) -> found_dirty(Found);
terms({error, _} = Error) -> Error.

found(_Found) -> ?MISSING.

found_dirty(_Found) -> ?MISSING.

%% @doc The run that wrote the row at a position, 0 for what is older than runs; none when the log
%% ends before it.
-spec run_of(shard(), Position :: non_neg_integer()) ->
    {ok, Run :: non_neg_integer() | none} | {error, reason()}.
run_of(Shard, Position) -> ?ANSWER(run_of(Shard, Position, Tag)).

run_of(_Shard, _Position, _Tag) -> ?MISSING.

%% @doc Opens a projection's file for the calling process, and waits until an earlier owner has
%% closed it.
-spec projection_open(binary(), Durable :: boolean(), access()) -> {ok, projection()} | {error, term()}.
projection_open(File, Durable, Access) ->
    Open = fun() -> ?ANSWER(projection_open(File, Durable, Access, Tag)) end,
    IsClaimed = fun(Result) -> Result =:= {error, claimed} end,
    case warp_retry:while(IsClaimed, {?CLAIM_PAUSE_MS, infinity}, warp_deadline:from(?CLAIM_PATIENCE_MS), Open) of
        {ok, Projection} = Opened -> ok = projection_own(Projection), Opened;
        {error, claimed} -> {error, {io_error, <<"its last owner has not closed the file yet">>}};
        {error, _} = Error -> Error
    end.

projection_open(_File, _Durable, _Access, _Tag) -> ?MISSING.

projection_own(_Projection) -> ?MISSING.

%% @doc One transaction of a few statements.
-spec projection_execute(projection(), [warp_projection_target:statement()]) ->
    ok | {error, {refused, pos_integer(), binary()} | {away, term()} | reason()}.
projection_execute(Projection, Statements) ->
    ?ANSWER(projection_execute(Projection, Statements, Tag)).

projection_execute(_Projection, _Statements, _Tag) -> ?MISSING.

%% @doc The same for many: they are not copied, and a dirty scheduler carries them out.
-spec projection_execute_batch(projection(), [warp_projection_target:statement()]) ->
    ok | {error, {refused, pos_integer(), binary()} | {away, term()}}.
projection_execute_batch(_Projection, _Statements) -> ?MISSING.

%% @doc A read of Warp's own.
-spec projection_read(projection(), binary(), [warp_projection_target:value()], pos_integer()) ->
    {ok, {Columns :: [binary()], Rows :: [[term()]]}}
    | {error, {sql_error, binary()} | {result_too_large, pos_integer()} | timeout | {away, reason()}}.
projection_read(Projection, Sql, Params, TimeoutMs) ->
    ?ANSWER(projection_read(Projection, Sql, Params, TimeoutMs, Tag)).

projection_read(_Projection, _Sql, _Params, _TimeoutMs, _Tag) -> ?MISSING.

-spec projection_tidy(projection()) -> ok | {error, reason()}.
projection_tidy(Projection) -> ?ANSWER(projection_tidy(Projection, Tag)).

projection_tidy(_Projection, _Tag) -> ?MISSING.

%% @doc Moves the WAL into the file and empties it, if nobody reads. Whether it could be done.
-spec projection_trim(projection()) -> {ok, Emptied :: boolean()} | {error, reason()}.
projection_trim(Projection) -> ?ANSWER(projection_trim(Projection, Tag)).

projection_trim(_Projection, _Tag) -> ?MISSING.

-spec projection_close(projection()) -> ok.
projection_close(Projection) -> ?ANSWER(projection_close(Projection, Tag)).

projection_close(_Projection, _Tag) -> ?MISSING.

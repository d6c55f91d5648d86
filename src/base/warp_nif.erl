%% @private The functions of the NIF library. A table in `native/warp_nif/src/nifs/mod.rs' says which of them runs
%% on which scheduler.
%%
%% Threads of the library do all work that waits for the disk. Such a function has a NIF of the same name with
%% one more argument, a tag: the NIF only hands the work over, and the thread sends the result as a message
%% with that tag.
-module(warp_nif).

-export([loaded/0, own/1, priv_dir/0]).
-export([shard_of/2, rules/2, pack/4, pack_dirty/4, keep/2, release/1, ticket/0, tie/2, is_void/1]).
-export([json_encode/2, json_encode_dirty/3, json_decode/1, json_decode_dirty/1]).
-export([lock/3, establish/1, unlock/1, open_journal/2, close_journal/1, journal_stats/1, open/5, close/1]).
-export([make_keys/2, cut/2, hold/3, release_hold/1]).
-export([backup_new/0, backup_key/1, backup_object/3, backup_about/1, backup_open/2]).
-export([save/4, save_page/1, save_index/1, save_segment/1]).
-export([restore/5, restore_page/4, restore_erased/3, restore_check/3, restore_open/3, restore_write/2]).
-export([restore_finish/1, restore_close/1]).
-export([keys_index/2, segment_cut/2, segment_label/2, chain_new/0, chain_add/4, chain_used/2, chain_breaks/1]).
-export([merge_new/2, merge_add/3, merge_seal/3]).
-export([exists/1, file_bytes/1, put_file/4, get_file/1, rename_folder/2, delete_files/2, open_files/0]).
-export([check_shard/1, check_folder/3, check_file/2, check_next/1, check_journal/1, check_folder_journal/1]).
-export([uncheck_folder/1]).
-export([outline/1, pages/2, digest/1, digest_of/3, move_wal/1, leave/2, forget/2, discard/1, adopt/3, create/4]).
-export([staged_digest/1]).
-export([stage_open/2, stage_aim/2, stage_next/2, stage_write/3, stage_missing/1, stage_sync/1, stage_seal/2]).
-export([stage_close/1]).
-export([submit/5, submit_clearing/6, replace/5, erase/2, clear/3, correct_time/4, pass/1, save_snapshot/5]).
-export([import_new/1, import_add/6, import_add_dirty/6, import/3, import_release/1]).
-export([head/2, snapshot/3, page/6, check_ids/3, stats/1, fault/1]).
-export([open_entities/2, closed_entities/5, entities/5, entity_count/1, other_aggregates/2, correlations/3]).
-export([last_row/2, follow/5, follow_entity/6, position_before/2, run_of/2]).
-export([projection_open/3, projection_execute/2, projection_execute_batch/2]).
-export([projection_read/4, projection_tidy/1, projection_trim/1, projection_close/1]).

-on_load(init/0).

-export_type([access/0, projection/0, lock/0, journal/0, shard/0, rules/0, packed/0, import/0, ticket/0]).
-export_type([folder/0, check/0, damage/0, packed_event/0, answer/0, stop/0, reason/0]).
-export_type([kind/0, retyping/0, followed/0, place/0, incarnation/0]).
-export_type([hold/0, backup/0, saving/0, restoring/0, open_segment/0, restored/0, chain/0, merging/0]).
-export_type([stage/0, source/0, page/0, outline/0, digest/0, file_reason/0]).

%% Who may read the files that Warp creates: the VM's user alone, or everybody whom the umask lets.
-type access() :: owner | umask.
-opaque hold() :: reference().
-opaque backup() :: reference().
-opaque saving() :: reference().
-opaque restoring() :: reference().
-opaque open_segment() :: reference().
%% What a segment has: so many rows and events, so many lives that were erased since, and so many rows with events that
%% were cleared since.
-type restored() :: {Rows :: non_neg_integer(), Events :: non_neg_integer(), ErasedLives :: non_neg_integer(),
                     ClearedRows :: non_neg_integer()}.
-opaque chain() :: reference().
%% A segment of a backup that is being made of others.
-opaque merging() :: reference().
-opaque lock() :: reference().
-opaque journal() :: reference().
-opaque shard() :: reference().
-opaque rules() :: reference().
-opaque projection() :: reference().
-opaque packed() :: reference().
-opaque import() :: reference().
-opaque ticket() :: reference().
-opaque folder() :: reference().
-opaque check() :: reference().
-opaque stage() :: reference().
%% Where a shard that is handed over is read: the handle of an open one, or the path of the file of one that is closed.
-type source() :: shard() | binary().
%% A page of 4,096 bytes, numbered from 1.
-type page() :: pos_integer().
%% What stands in a shard's file: the id of its file of sums, the number of its pages, and the sum of each, as 8 bytes.
-type outline() :: {Id :: non_neg_integer(), Pages :: non_neg_integer(), Sums :: binary()}.
%% The XXH3-128 of an outline, as 16 bytes. `docs/file-format.md' says of which bytes.
-type digest() :: binary().
%% What is damaged, up to 100 places, and how many others are.
-type damage() :: {[binary()], Others :: non_neg_integer()}.
%% An event as a read will give it, without seq and time.
-type packed_event() ::
    {Type :: binary(), Payload :: map(), Aggregate :: binary(), Id :: binary() | undefined,
     SchemaVsn :: pos_integer(), Metadata :: map()}.
-type incarnation() :: non_neg_integer().
%% Why the writer did not store an append of a submission, nor any append behind it.
-type stop() ::
    {duplicates, [{Index :: non_neg_integer(), warp_core:seq()}]}
    | {id_conflict, warp_core:seq()}
    | {reserved_id, binary()}
    %% Another append with the same ticket was not stored.
    | void_ticket.
%% The writer's answer. The owner of the journal sends it, as `{warp_reply, answer()}', to the process that called
%% `submit', `erase', `clear', `correct_time' or `pass'.
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
    %% `internal' is a bug of Warp; the files and the disk are not to blame.
    | {io_error | corrupt | internal, binary()}.
%% `claimed': the file, or what goes with it, is open in this VM.
-type file_reason() ::
    reason() | claimed
    | {not_a_shard, Path :: binary()}
    | {newer_format, Path :: binary(), Version :: integer()}.
%% A kind of entities: the prefix of their ids, and the aggregate of the row that closes such an entity. No
%% prefix begins with another prefix. The events of their first rows that have one of the types can be cleared, so many
%% of them at once, one behind the other: a backup seals each such group of payloads with a key of its own.
-type kind() :: {Prefix :: binary(), Closing :: binary(), {retyping(), Group :: pos_integer()}}.
%% The new types of cleared events, each as long as the old one. Other types stay.
-type retyping() :: [{Type :: binary(), Cleared :: binary()}].
%% Whose rows a follower sees: the rows of all entities except Warp's own, of the entities whose ids have a
%% prefix, or of all entities.
-type followed() :: users | {kind, Prefix :: binary()} | all.

%% Where an entity stands in the list of its shard.
-type place() :: {Hash :: integer(), Incarnation :: integer()}.

-define(MISSING, erlang:nif_error(nif_not_loaded)).

%% The pause between two attempts to open a projection's file that its previous owner has not closed yet, and
%% how long these attempts go on.
-define(CLAIM_PAUSE_MS, 5).
-define(CLAIM_PATIENCE_MS, 30000).
-define(LOCK_PAUSE_MS, 10).

%% Waits for the answer of a thread of the library. This wait has no limit: a thread always answers, also after a
%% panic, and only the disk can keep it from answering.
-define(ANSWER(Call),
    begin
        Tag = make_ref(),
        case Call of
            ok -> receive {Tag, Answer} -> Answer end;
            {error, _} = NotBegun -> NotBegun
        end
    end).

%% The environment variable names a library at another path, without extension: for packagers and tests.
%%
%% NOTE: a module whose library is missing is loaded all the same, so that {@link loaded/0} can say why. A module that
%% takes the place of one that has its library is not: its contexts go on with the old one.
init() ->
    Path =
        case os:getenv("WARP_NIF") of
            false -> filename:join(priv_dir(), "warp_nif");
            Given -> Given
        end,
    case {erlang:load_nif(Path, 0), persistent_term:get(?MODULE, none)} of
        {ok, _} ->
            persistent_term:put(?MODULE, ok);
        {{error, _} = Error, ok} ->
            Error;
        {{error, {_, Text}}, _} ->
            Message = unicode:characters_to_binary(Text),
            persistent_term:put(?MODULE, {error, {nif_not_loaded, Message}})
    end.

%% @doc Whether the library is loaded. The error has the loader's own words, such as that there is no such file.
-spec loaded() -> ok | {error, {nif_not_loaded, Message :: binary()}}.
loaded() ->
    persistent_term:get(?MODULE).

%% @doc The folder that holds the library and the program that runs queries.
-spec priv_dir() -> file:filename().
priv_dir() ->
    case code:priv_dir(warp_core) of
        {error, bad_name} ->
            Ebin = filename:dirname(code:which(?MODULE)),
            filename:join(filename:dirname(Ebin), "priv");
        Dir ->
            Dir
    end.

%% @doc A copy of a reference on the caller's heap, for a NIF on a dirty scheduler.
%%
%% NOTE: while a call waits for a dirty scheduler another process may erase the persistent term that the reference
%% belongs to, and the VM would free it.
-spec own(rules()) -> rules().
own(Reference) -> binary_to_term(term_to_binary(Reference)).

%% @doc The number of the shard that an entity with this id lives in, from 0; or what is wrong with the id.
-spec shard_of(Id :: term(), Shards :: pos_integer()) -> {ok, non_neg_integer()} | {error, term()}.
shard_of(_Id, _Shards) -> ?MISSING.

%% @doc The rules that {@link pack/4} checks events by: the aggregates, each with its version and whether new
%% events of it are judged before they are stored; and earlier names of them, each with the name of now.
-spec rules([{binary(), Version :: pos_integer(), Judges :: boolean()}], [{Earlier :: binary(), Now :: binary()}]) ->
    rules().
rules(_Aggregates, _Earlier) -> ?MISSING.

%% @doc Checks events and packs them as one append. Gives them back as terms too if an aggregate judges them, and
%% with them those of their binaries that may be parts of larger ones, or `many' if these are more than 10,000.
%% `dirty': the events are too long for a normal scheduler, call {@link pack_dirty/4}. Errors name the event
%% and the field that is wrong.
-spec pack(rules(), binary(), binary() | undefined, [map()]) ->
    {ok, packed(), Count :: pos_integer(), Bytes :: pos_integer(), HasIds :: boolean(),
     [packed_event()] | none, Parts :: [binary()] | many} | {error, term()} | dirty.
pack(_Rules, _Entity, _DefaultAggregate, _Events) -> ?MISSING.

%% @doc As {@link pack/4}, on a dirty scheduler.
-spec pack_dirty(rules(), binary(), binary() | undefined, [map()]) ->
    {ok, packed(), Count :: pos_integer(), Bytes :: pos_integer(), HasIds :: boolean(),
     [packed_event()] | none, Parts :: [binary()] | many} | {error, term()}.
pack_dirty(_Rules, _Entity, _DefaultAggregate, _Events) -> ?MISSING.

%% @doc An append with only the events at these indexes, which are in order and count from 0; and how many events
%% and bytes it has.
-spec keep(packed(), [non_neg_integer()]) -> {packed(), non_neg_integer(), pos_integer()}.
keep(_Packed, _Indexes) -> ?MISSING.

%% @doc Frees the memory of a packed append that nobody needs any more, before the VM collects its reference.
-spec release(packed()) -> ok.
release(_Packed) -> ?MISSING.

%% @doc A new ticket, for appends to several entities of which a later one may only be stored if those before it are.
%% Each is tied to the ticket, and each is submitted after the ones before it were. The writer takes what is submitted
%% in that order. When it does not store one of them, whatever the reason, the ticket is void, and it takes none of
%% them any more.
-spec ticket() -> ticket().
ticket() -> ?MISSING.

%% @doc Ties a packed append to a ticket, in place of the one that it was tied to.
-spec tie(packed(), ticket()) -> ok.
tie(_Packed, _Ticket) -> ?MISSING.

%% @doc Whether an append that is tied to the ticket was not stored.
-spec is_void(ticket()) -> boolean().
is_void(_Ticket) -> ?MISSING.

%% @doc See {@link warp_json:encode/2}. `dirty': the term is too large for a normal scheduler.
-spec json_encode(term(), Padded :: boolean()) -> {ok, binary()} | {error, term()} | dirty.
json_encode(_Term, _Padded) -> ?MISSING.

%% @doc As {@link json_encode/2}, on a dirty scheduler.
-spec json_encode_dirty(term(), Padded :: boolean(), MaxBytes :: pos_integer()) ->
    {ok, binary()} | {error, term()}.
json_encode_dirty(_Term, _Padded, _MaxBytes) -> ?MISSING.

%% @doc See {@link warp_json:decode/1}. `dirty': the text is too long for a normal scheduler.
-spec json_decode(binary()) -> {ok, map()} | {error, term()} | dirty.
json_decode(_Text) -> ?MISSING.

%% @doc As {@link json_decode/1}, on a dirty scheduler.
-spec json_decode_dirty(binary()) -> {ok, map()} | {error, term()}.
json_decode_dirty(_Text) -> ?MISSING.

%% @doc Locks a context's folder. While another context has the lock this tries again, for PatienceMs milliseconds;
%% then the error is `{data_dir_in_use, Dir}'.
-spec lock(binary(), non_neg_integer(), access()) -> {ok, lock()} | {error, term()}.
lock(Dir, PatienceMs, Access) ->
    IsTaken = fun({error, {data_dir_in_use, _}}) -> true; (_) -> false end,
    warp_retry:while(IsTaken, {?LOCK_PAUSE_MS, infinity}, warp_deadline:from(PatienceMs),
                     fun() -> ?ANSWER(try_lock(Dir, Access, Tag)) end).

try_lock(_Dir, _Access, _Tag) -> ?MISSING.

%% @doc How many files the VM's operating-system process may have open, and how many it has open.
-spec open_files() ->
    {Limit :: non_neg_integer() | infinity, Open :: non_neg_integer()} | {error, term()}.
open_files() -> ?ANSWER(open_files(Tag)).

open_files(_Tag) -> ?MISSING.

%% @doc Begins to check the file of an open shard. Errors: `closed', `{io_error, _}'.
-spec check_shard(shard()) -> {ok, check()} | {error, reason()}.
check_shard(Shard) -> ?ANSWER(check_shard(Shard, Tag)).

check_shard(_Shard, _Tag) -> ?MISSING.

%% @doc Opens the folder of a context that nobody has open, to check its files. Nobody can open the context before
%% {@link uncheck_folder/1}, or before the result is garbage. The shards with the numbers given have to be there, and no
%% others are checked; `all': those that the context has. Also the numbers of the shards that are checked. Errors:
%% `{data_dir_in_use, Dir}', `{io_error, _}'.
-spec check_folder(binary(), [kind()], Shards :: [non_neg_integer()] | all) ->
    {ok, {folder(), Shards :: [non_neg_integer()]}} | {error, term()}.
check_folder(Dir, Kinds, Shards) -> ?ANSWER(check_folder(Dir, Kinds, Shards, Tag)).

check_folder(_Dir, _Kinds, _Shards, _Tag) -> ?MISSING.

%% @doc Begins to check a shard of a folder. `none': it cannot be read as a shard, which {@link check_folder_journal/1}
%% says. Errors: `{not_a_shard, _}', `{newer_format, _, _}', `{io_error, _}'.
-spec check_file(folder(), non_neg_integer()) -> {ok, check() | none} | {error, term()}.
check_file(Folder, N) -> ?ANSWER(check_file(Folder, N, Tag)).

check_file(_Folder, _N, _Tag) -> ?MISSING.

%% @doc Checks the next piece of a shard. Gives what comes next, and how many steps of all are done; or, at the end,
%% what was checked, and what is damaged. Errors: `closed', `{io_error, _}'.
-spec check_next(check()) ->
    {ok, {pages | entities | rows, Done :: non_neg_integer(), Total :: non_neg_integer()}}
    | {ok, {done, [{atom(), non_neg_integer()}], damage()}}
    | {error, reason()}.
check_next(Check) -> ?ANSWER(check_next(Check, Tag)).

check_next(_Check, _Tag) -> ?MISSING.

%% @doc Checks the records of the journal of an open context: how many there are, and what is damaged.
-spec check_journal(journal()) -> {ok, {Records :: non_neg_integer(), damage()}} | {error, reason()}.
check_journal(Journal) -> ?ANSWER(check_journal(Journal, Tag)).

check_journal(_Journal, _Tag) -> ?MISSING.

%% @doc Likewise those of a folder. Also what is damaged there and is not in the result of the check of a shard.
-spec check_folder_journal(folder()) -> {ok, {Records :: non_neg_integer(), damage()}} | {error, reason()}.
check_folder_journal(Folder) -> ?ANSWER(check_folder_journal(Folder, Tag)).

check_folder_journal(_Folder, _Tag) -> ?MISSING.

%% @doc Ends the check of a folder.
-spec uncheck_folder(folder()) -> ok.
uncheck_folder(Folder) -> ?ANSWER(uncheck_folder(Folder, Tag)).

uncheck_folder(_Folder, _Tag) -> ?MISSING.

%% @doc What stands in a shard's file on the disk now. While the shard is open, sums can be older than their pages.
%% Errors: `closed', of an open shard; `claimed', of a path; `{io_error, _}', also when the file of a closed shard has a
%% write-ahead log with something in it; `{corrupt, _}'; `{not_a_shard, _}'; `{newer_format, _, _}'.
-spec outline(source()) -> {ok, outline()} | {error, file_reason()}.
outline(Source) -> ?ANSWER(outline(Source, Tag)).

outline(_Source, _Tag) -> ?MISSING.

%% @doc Pages of a shard's file as they are on the disk now, at most 1,024, one behind the other; zeros behind the end
%% of the file. While the shard is open, a page can be torn, or newer than its sum: who gets it notices. Errors: as of
%% {@link outline/1}; `{internal, _}' for too many pages.
-spec pages(source(), [page()]) -> {ok, binary()} | {error, file_reason()}.
pages(Source, Pages) -> ?ANSWER(pages(Source, Pages, Tag)).

pages(_Source, _Pages, _Tag) -> ?MISSING.

%% @doc The digest of {@link outline/1}. Errors: as of that.
-spec digest(source()) -> {ok, digest()} | {error, file_reason()}.
digest(Source) -> ?ANSWER(digest(Source, Tag)).

digest(_Source, _Tag) -> ?MISSING.

%% @doc The digest of the file of a shard that was closed so that it can be given away. `{io_error, _}' also when the
%% file lacks something that the journal has: closing a shard leaves that to the next time it is opened. Other errors:
%% as of {@link outline/1}; `closed', of the journal.
-spec digest_of(journal(), File :: binary(), Shard :: non_neg_integer()) -> {ok, digest()} | {error, file_reason()}.
digest_of(Journal, File, N) -> ?ANSWER(digest_of(Journal, File, N, Tag)).

digest_of(_Journal, _File, _N, _Tag) -> ?MISSING.

%% @doc Has everything that is committed brought into the shard's file, synced, as far as that can be done beside reads.
%% Waits for that; commits go on meanwhile. Errors: `closed'; those of the disk, with which nothing is lost.
-spec move_wal(shard()) -> ok | {error, reason()}.
move_wal(Shard) -> ?ANSWER(move_wal(Shard, Tag)).

move_wal(_Shard, _Tag) -> ?MISSING.

%% @doc Has keys made for all lives of entities whose first row stands up to that position, or up to the end of the
%% log where that is before, and which have none: a backup seals the rows of a life with its key, and deleting the
%% entity overwrites it. Waits until each of them has its key, and rows and keys outlive a loss of power in the shard's
%% file; that takes some two seconds of a core for a million lives. Appends go on meanwhile. Errors: `closed'; those of
%% the disk, `io_error' also while another program reads the file in a transaction that does not end: it can be called
%% again.
-spec make_keys(shard(), UpTo :: non_neg_integer()) -> ok | {error, reason()}.
make_keys(Shard, UpTo) -> ?ANSWER(make_keys(Shard, UpTo, Tag)).

make_keys(_Shard, _UpTo, _Tag) -> ?MISSING.

%% @doc Erases what the journal has of a shard that is closed and was given away, and forgets it: nothing of the shard
%% is left in the journal's files. It can be called again, and of a shard that this VM never opened. `claimed': the
%% shard is open. Other errors: `closed'; `{io_error, _}', after which it is called again.
-spec leave(journal(), Shard :: non_neg_integer()) -> ok | {error, file_reason()}.
leave(Journal, N) -> ?ANSWER(leave(Journal, N, Tag)).

leave(_Journal, _N, _Tag) -> ?MISSING.

%% @doc Has the journal forget a shard that is not here, whatever it has found of it: it waits for it no longer before
%% it gives segments back. For each start, before shards are opened. Errors: `claimed', when the shard is open;
%% `closed'.
-spec forget(journal(), Shard :: non_neg_integer()) -> ok | {error, file_reason()}.
forget(Journal, N) -> ?ANSWER(forget(Journal, N, Tag)).

forget(_Journal, _N, _Tag) -> ?MISSING.

%% @doc Overwrites all files of a shard with zeros, and those of a copy beside it, and removes them, durably. File is
%% that of the database, `shard-0000.db'. Files that are not there are none. `claimed': the shard, or its copy, is open.
-spec discard(File :: binary()) -> ok | {error, file_reason()}.
discard(File) -> ?ANSWER(discard(File, Tag)).

discard(_File, _Tag) -> ?MISSING.

%% @doc Makes a shard of this context of a complete copy: it gets its name, File, and belongs to the journal. It can be
%% called again wherever an earlier call has ended, also when all is done. {@link open/5} opens the shard then.
%%
%% Errors: `claimed', when the shard or its copy is open; `{io_error, _}', also when there are a shard and a copy;
%% `{corrupt, _}', also when there is neither, or the copy is not complete, or older than what was here before;
%% `{not_a_shard, _}'; `{newer_format, _, _}'; `{wrong_identity, _, _}'; `{shard_count_mismatch, _, _}'; `closed';
%% `disk_full'. When the journal cannot begin a segment nothing has changed.
-spec adopt(journal(), File :: binary(),
            {Context :: binary(), Shard :: non_neg_integer(), Shards :: pos_integer()}) ->
    ok
    | {error, file_reason() | {wrong_identity, Path :: binary(), Found :: binary()}
              | {shard_count_mismatch, integer(), integer()}}.
adopt(Journal, File, Of) -> ?ANSWER(adopt(Journal, File, Of, Tag)).

adopt(_Journal, _File, _Of, _Tag) -> ?MISSING.

%% @doc Makes an empty shard of this context, File, for one that was lost with its node. Its log ends at Position,
%% where it has no event: the next append gets the position behind it. It can be called again wherever an earlier call
%% has ended, also when the empty shard is there already, and its file has no event. {@link open/5} opens the shard
%% then.
%%
%% Errors: `claimed', when a shard or a copy is open there; `{io_error, _}', also when there is a copy, or a shard that
%% is not that empty one; `{corrupt, _}', also when the journal knows a later position of the shard; `{internal, _}',
%% for a position from 2^63 on; `closed'; `disk_full'. Of a file that is there already: `{not_a_shard, _}',
%% `{newer_format, _, _}', `{wrong_identity, _, _}', `{shard_count_mismatch, _, _}'.
-spec create(journal(), File :: binary(),
             {Context :: binary(), Shard :: non_neg_integer(), Shards :: pos_integer()},
             Position :: non_neg_integer()) ->
    ok
    | {error, file_reason() | {wrong_identity, Path :: binary(), Found :: binary()}
              | {shard_count_mismatch, integer(), integer()}}.
create(Journal, File, Of, Position) -> ?ANSWER(create(Journal, File, Of, Position, Tag)).

create(_Journal, _File, _Of, _Position, _Tag) -> ?MISSING.

%% @doc The digest of the copy beside File; `none' when there is none, or it is not complete. Errors: `claimed', while
%% it is open; `{corrupt, _}'; `{io_error, _}'.
-spec staged_digest(File :: binary()) -> {ok, digest() | none} | {error, file_reason()}.
staged_digest(File) -> ?ANSWER(staged_digest(File, Tag)).

staged_digest(_File, _Tag) -> ?MISSING.

%% @doc Opens the copy of a shard that is made beside File, where the shard will stand, or begins one. It is closed by
%% {@link stage_close/1}, or when the result is garbage. `claimed': it is open. Other errors: `{io_error, _}',
%% `disk_full'.
-spec stage_open(File :: binary(), access()) -> {ok, stage()} | {error, file_reason()}.
stage_open(File, Access) -> ?ANSWER(stage_open(File, Access, Tag)).

stage_open(_File, _Access, _Tag) -> ?MISSING.

%% @doc Says what the copy has to become, cuts off what is behind that, and begins a round. Gives how many pages are
%% missing: those that are there and fit are not, whenever they were written. The first call reads the file, and so does
%% one with another id. Errors: `closed'; `{internal, _}' when there is not a sum for each page; those of the disk.
-spec stage_aim(stage(), outline()) -> {ok, Missing :: non_neg_integer()} | {error, reason()}.
stage_aim(Stage, Outline) -> ?ANSWER(stage_aim(Stage, Outline, Tag)).

stage_aim(_Stage, _Outline, _Tag) -> ?MISSING.

%% @doc The next pages that are missing, at most so many, in their order; none when all were asked for in this round.
%% Error: `closed'.
-spec stage_next(stage(), Max :: non_neg_integer()) -> {ok, [page()]} | {error, reason()}.
stage_next(Stage, Max) -> ?ANSWER(stage_next(Stage, Max, Tag)).

stage_next(_Stage, _Max, _Tag) -> ?MISSING.

%% @doc Writes those of the pages, which stand one behind the other, that fit: how many these are. Errors: `{internal,
%% _}', with nothing written, when the shard does not have one of the pages, or there are not as many bytes; `closed';
%% those of the disk.
-spec stage_write(stage(), [page()], binary()) -> {ok, Written :: non_neg_integer()} | {error, reason()}.
stage_write(Stage, Pages, Bytes) -> ?ANSWER(stage_write(Stage, Pages, Bytes, Tag)).

stage_write(_Stage, _Pages, _Bytes, _Tag) -> ?MISSING.

%% @doc How many pages are missing. Error: `closed'.
-spec stage_missing(stage()) -> {ok, non_neg_integer()} | {error, reason()}.
stage_missing(Stage) -> ?ANSWER(stage_missing(Stage, Tag)).

stage_missing(_Stage, _Tag) -> ?MISSING.

%% @doc Makes durable what is there of the copy. Errors: `closed'; those of the disk.
-spec stage_sync(stage()) -> ok | {error, reason()}.
stage_sync(Stage) -> ?ANSWER(stage_sync(Stage, Tag)).

stage_sync(_Stage, _Tag) -> ?MISSING.

%% @doc Says durably that the copy is complete. It stays so until a page of it is changed. `{incomplete, Missing}':
%% pages are missing. `other_digest': it had to become something else. Other errors: `{not_a_shard, _}';
%% `{newer_format, _, _}'; `closed'; those of the disk.
-spec stage_seal(stage(), digest()) ->
    ok | {error, {incomplete, Missing :: non_neg_integer()} | other_digest | file_reason()}.
stage_seal(Stage, Digest) -> ?ANSWER(stage_seal(Stage, Digest, Tag)).

stage_seal(_Stage, _Digest, _Tag) -> ?MISSING.

%% @doc Closes the copy, which stays as it is.
-spec stage_close(stage()) -> ok.
stage_close(Stage) -> ?ANSWER(stage_close(Stage, Tag)).

stage_close(_Stage, _Tag) -> ?MISSING.

%% @doc Records in a locked folder that all its shards exist: from now on a missing shard is an error.
-spec establish(lock()) -> ok | {error, term()}.
establish(Lock) -> ?ANSWER(establish(Lock, Tag)).

establish(_Lock, _Tag) -> ?MISSING.

%% @doc Gives up the lock on a folder, which is free when the shards that were opened under it have closed.
-spec unlock(lock()) -> ok.
unlock(Lock) -> ?ANSWER(unlock(Lock, Tag)).

unlock(_Lock, _Tag) -> ?MISSING.

%% @doc Whether there is a file of that name.
-spec exists(binary()) -> boolean() | {error, term()}.
exists(File) -> ?ANSWER(exists(File, Tag)).

exists(_File, _Tag) -> ?MISSING.

%% @doc The size of a file in bytes.
-spec file_bytes(binary()) -> {ok, non_neg_integer()} | {error, reason()}.
file_bytes(File) -> ?ANSWER(file_bytes(File, Tag)).

file_bytes(_File, _Tag) -> ?MISSING.

%% @doc The position of each of these shards of a journal, between two commits, with the time and the journal's run.
%% Error: `closed', when one of them is.
-spec cut(journal(), [shard()]) ->
    {ok, {warp_core:micros(), Run :: integer(), [{non_neg_integer(), Position :: non_neg_integer()}]}}
    | {error, reason()}.
cut(Journal, Shards) -> ?ANSWER(cut(Journal, Shards, Tag)).

cut(_Journal, _Shards, _Tag) -> ?MISSING.

%% @doc The same; then no commit is made until {@link release_hold/1}, or until the hold is garbage, for so many
%% milliseconds at most.
-spec hold(journal(), [shard()], Millis :: pos_integer()) ->
    {ok, {warp_core:micros(), Run :: pos_integer(), [{N :: non_neg_integer(), Position :: non_neg_integer()}], hold()}}
    | {error, reason()}.
hold(Journal, Shards, Millis) -> ?ANSWER(hold(Journal, Shards, Millis, Tag)).

hold(_Journal, _Shards, _Millis, _Tag) -> ?MISSING.

%% @doc Lets commits be made again. Whether none was made up to now.
-spec release_hold(hold()) -> boolean().
release_hold(_Hold) -> ?MISSING.

%% @doc A new backup, with a key of its own.
-spec backup_new() -> {ok, backup()} | {error, reason()}.
backup_new() -> ?MISSING.

%% @doc The key of a backup: 32 bytes.
-spec backup_key(backup()) -> binary().
backup_key(_Backup) -> ?MISSING.

%% @doc The object `backup', with the key wrapped: for the wrapping `master', by the master key given; else as it was
%% wrapped.
-spec backup_object(backup(), About :: {Context :: binary(), Shards :: pos_integer(), warp_core:micros()},
                    {Wrapping :: binary(), Key :: binary()}) -> {ok, binary()} | {error, reason()}.
backup_object(Backup, About, {Wrapping, Key}) -> backup_object(Backup, About, Wrapping, Key).

backup_object(_Backup, _About, _Wrapping, _Key) -> ?MISSING.

%% @doc What the object `backup' says. Error: `{backup_damaged, Message}', `{newer_format, Object, Version}'.
-spec backup_about(Object :: binary()) ->
    {ok, #{number := non_neg_integer(), created := warp_core:micros(), shards := pos_integer(), context := binary(),
           wrapping := binary(), wrapped := binary()}}
    | {error, reason()}.
backup_about(Object) ->
    case backup_about_of(Object) of
        {ok, {Number, Created, Shards, {Context, Wrapping, Wrapped}}} ->
            {ok, #{number => Number, created => Created, shards => Shards, context => Context, wrapping => Wrapping,
                   wrapped => Wrapped}};
        {error, _} = Error ->
            Error
    end.

backup_about_of(_Object) -> ?MISSING.

%% @doc Opens a backup with the master key that has wrapped its key, or with that. Errors: `wrong_master_key'; as above.
-spec backup_open(Object :: binary(), {master | key, binary()}) -> {ok, backup()} | {error, reason()}.
backup_open(Object, {How, Key}) -> backup_open(Object, Key, How =:= master).

backup_open(_Object, _Key, _IsMaster) -> ?MISSING.

%% @doc Begins to save shards up to a cut, which was at this time, and whose lives have keys. `Completes' says whether
%% the last segment completes the cut. A stream is `{Number, Shards, Node, LastSegment, ItsHash}', and a part, in the
%% order of shards, `{Shard | nil, N, {FromPosition, ItsRun, UpTo}, Covered}': the stored key pages are complete up to
%% `Covered'. Of a shard `nil' nothing may be to save.
-spec save(backup(), Stream :: tuple(), {warp_core:micros(), Completes :: boolean()}, Parts :: [tuple()]) ->
    {ok, saving()}.
save(_Backup, _Stream, _Cut, _Parts) -> ?MISSING.

%% @doc The next key page that has changed since the stored ones. To be stored behind the segments.
-spec save_page(saving()) ->
    {ok, {Shard :: non_neg_integer(), Page :: non_neg_integer(), binary()} | none} | {error, reason()}.
save_page(Saving) -> ?ANSWER(save_page(Saving, Tag)).

save_page(_Saving, _Tag) -> ?MISSING.

%% @doc The index of the key pages.
-spec save_index(saving()) -> binary().
save_index(_Saving) -> ?MISSING.

%% @doc The next segment: its number, its SHA-256, whether it completes the cut, how many rows and events it has, and
%% itself.
-spec save_segment(saving()) ->
    {ok, {pos_integer(), binary(), boolean(), non_neg_integer(), non_neg_integer(), binary()} | none}
    | {error, reason()}.
save_segment(Saving) -> ?ANSWER(save_segment(Saving, Tag)).

save_segment(_Saving, _Tag) -> ?MISSING.

%% @doc Begins to restore a context, or one entity of it, into a folder, or goes on with what an earlier call has begun
%% there.
-spec restore(backup(), Dir :: binary(), {Context :: binary(), Shards :: pos_integer(), Entity :: binary() | nil},
              access(), [kind()]) -> {ok, restoring()} | {error, reason()}.
restore(Backup, Dir, {Context, Shards, Entity}, Access, Kinds) ->
    ?ANSWER(restore(Backup, Dir, {Context, Shards}, Entity, Access, Kinds, Tag)).

restore(_Backup, _Dir, _Context, _Entity, _Access, _Kinds, _Tag) -> ?MISSING.

%% @doc Adds a key page. Error: `{backup_damaged, Message}'.
-spec restore_page(restoring(), Shard :: non_neg_integer(), Page :: non_neg_integer(), binary()) ->
    {ok, done} | {error, reason()}.
restore_page(Restoring, Shard, Page, Bytes) -> ?ANSWER(restore_page(Restoring, Shard, Page, Bytes, Tag)).

restore_page(_Restoring, _Shard, _Page, _Bytes, _Tag) -> ?MISSING.

%% @doc Notes which keys a segment says were erased.
-spec restore_erased(restoring(), Segment :: pos_integer(), binary()) -> {ok, done} | {error, reason()}.
restore_erased(Restoring, Number, Bytes) -> ?ANSWER(restore_erased(Restoring, Number, Bytes, Tag)).

restore_erased(_Restoring, _Number, _Bytes, _Tag) -> ?MISSING.

%% @doc Opens all that is in a segment, and keeps nothing.
-spec restore_check(restoring(), Segment :: pos_integer(), binary()) -> {ok, restored()} | {error, reason()}.
restore_check(Restoring, Number, Bytes) -> ?ANSWER(restore_check(Restoring, Number, Bytes, Tag)).

restore_check(_Restoring, _Number, _Bytes, _Tag) -> ?MISSING.

%% @doc Opens all that is in a segment, to be written. Segments can be opened beside each other, and while one is
%% written.
-spec restore_open(restoring(), Segment :: pos_integer(), binary()) ->
    {ok, {restored(), open_segment()}} | {error, reason()}.
restore_open(Restoring, Number, Bytes) -> ?ANSWER(restore_open(Restoring, Number, Bytes, Tag)).

restore_open(_Restoring, _Number, _Bytes, _Tag) -> ?MISSING.

%% @doc Brings a segment into the files, once. Segments are written in their order. After an error the files are closed.
-spec restore_write(restoring(), open_segment()) -> ok | {error, reason()}.
restore_write(Restoring, Segment) -> ?ANSWER(restore_write(Restoring, Segment, Tag)).

restore_write(_Restoring, _Segment, _Tag) -> ?MISSING.

%% @doc Ends a restore: all files are complete then, and closed.
-spec restore_finish(restoring()) -> ok | {error, reason()}.
restore_finish(Restoring) -> ?ANSWER(restore_finish(Restoring, Tag)).

restore_finish(_Restoring, _Tag) -> ?MISSING.

%% @doc Closes the files of a restore that is given up, unless they are: the same restore goes on with what was written.
-spec restore_close(restoring()) -> ok | {error, reason()}.
restore_close(Restoring) -> ?ANSWER(restore_close(Restoring, Tag)).

restore_close(_Restoring, _Tag) -> ?MISSING.

%% @doc The cut that a segment completes, from its last 256 bytes at least. Error: `{backup_damaged, Message}'.
-spec segment_cut(Segment :: pos_integer(), binary()) ->
    {ok, {Cut :: pos_integer(), warp_core:micros()} | none} | {error, reason()}.
segment_cut(_Segment, _End) -> ?MISSING.

%% @doc What the index of the key pages says: the number of the last segment before them, when it was written, and for
%% each shard the highest incarnation with a key, and up to which position erased keys are gone. Error:
%% `{backup_damaged, Message}'.
-spec keys_index(Backup :: non_neg_integer(), binary()) ->
    {ok, {Segment :: non_neg_integer(), warp_core:micros(),
          [{Shard :: non_neg_integer(), Highest :: integer(), Edits :: integer()}]}}
    | {error, reason()}.
keys_index(_Backup, _Index) -> ?MISSING.

%% @doc A chain of segments, without any.
-spec chain_new() -> chain().
chain_new() -> ?MISSING.

%% @doc What the beginning of a segment says, from its first 144 KiB at least: the number of the first segment that it
%% has the blocks of, and its random id. Error: `{backup_damaged, Message}'.
-spec segment_label(Segment :: pos_integer(), binary()) ->
    {ok, {First :: pos_integer(), Id :: binary()}} | {error, reason()}.
segment_label(_Segment, _Beginning) -> ?MISSING.

%% @doc A segment that is to be made of others, without any yet. Blocks are left out whose keys were erased in these
%% shards up to the positions up to which the stored key pages are complete.
-spec merge_new(backup(), [{Number :: non_neg_integer(), shard(), Covered :: integer()}]) -> merging().
merge_new(_Backup, _Shards) -> ?MISSING.

%% @doc Adds a segment that follows the last one, after it was checked: how many bytes of it were left out. `full':
%% there is no room for it, so it has to be the first of the next one. Errors: `{backup_damaged, Message}', also of
%% segments that do not follow; `closed' when a shard is; those of the shards' files.
-spec merge_add(merging(), Segment :: pos_integer(), binary()) ->
    {ok, LeftOut :: non_neg_integer() | full} | {error, reason()}.
merge_add(Merging, Number, Bytes) -> ?ANSWER(merge_add(Merging, Number, Bytes, Tag)).

merge_add(_Merging, _Number, _Bytes, _Tag) -> ?MISSING.

%% @doc The segment that replaces those that were added, made at this time by this node. Nothing can be added then.
-spec merge_seal(merging(), warp_core:micros(), Node :: binary()) -> {ok, binary()} | {error, reason()}.
merge_seal(Merging, Time, Node) -> ?ANSWER(merge_seal(Merging, Time, Node, Tag)).

merge_seal(_Merging, _Time, _Node, _Tag) -> ?MISSING.

%% @doc Looks at a segment without keys, and adds it to the chain. An error when it is no segment, or its label, lists
%% or trailer are damaged; other damage is in the result. The hash is that which the label of the next segment has.
-spec chain_add(chain(), Backup :: non_neg_integer(), Segment :: pos_integer(), binary()) ->
    {ok, {{Stream :: non_neg_integer(), First :: pos_integer(), warp_core:micros()},
          Cut :: {pos_integer(), warp_core:micros()} | none, Hash :: binary(),
          [{Shard :: non_neg_integer(), From :: integer(), To :: integer(), Run :: integer()}], Damage :: [binary()]}}
    | {error, reason()}.
chain_add(Chain, Backup, Number, Bytes) -> ?ANSWER(chain_add(Chain, Backup, Number, Bytes, Tag)).

chain_add(_Chain, _Backup, _Number, _Bytes, _Tag) -> ?MISSING.

%% @doc The numbers of the segments of a chain that are to be read, in order, of those up to a number: without those
%% that were merged into others that are there.
-spec chain_used(chain(), UpTo :: pos_integer()) -> [pos_integer()].
chain_used(_Chain, _UpTo) -> ?MISSING.

%% @doc Why the segments of a chain do not follow each other, in sentences.
-spec chain_breaks(chain()) -> [binary()].
chain_breaks(_Chain) -> ?MISSING.

%% @doc Writes a whole file, durably, and makes the folders above it that are missing. Whoever reads finds it whole or
%% not at all. With `create' a file that is there stays: `exists'. Errors: `disk_full', `{io_error, _}'.
-spec put_file(Path :: binary(), Bytes :: binary(), access(), create | replace) -> ok | exists | {error, reason()}.
put_file(File, Bytes, Access, How) -> ?ANSWER(put_file(File, Bytes, Access, How =:= replace, Tag)).

put_file(_File, _Bytes, _Access, _Replaces, _Tag) -> ?MISSING.

%% @doc All of a small file, also while the VM's own threads for files are taken. `none': there is no such file. Errors:
%% `{io_error, _}'.
-spec get_file(Path :: binary()) -> {ok, binary()} | none | {error, reason()}.
get_file(File) -> ?ANSWER(get_file(File, Tag)).

get_file(_File, _Tag) -> ?MISSING.

%% @doc Gives a folder another name, durably. Errors: `{io_error, _}'.
-spec rename_folder(From :: binary(), To :: binary()) -> ok | {error, reason()}.
rename_folder(From, To) -> ?ANSWER(rename_folder(From, To, Tag)).

rename_folder(_From, _To, _Tag) -> ?MISSING.

%% @doc Deletes the files in a folder whose names have the prefix. A file that cannot be deleted stays.
-spec delete_files(Dir :: binary(), Prefix :: binary()) -> ok | {error, reason()}.
delete_files(Dir, Prefix) -> ?ANSWER(delete_files(Dir, Prefix, Tag)).

delete_files(_Dir, _Prefix, _Tag) -> ?MISSING.

%% @doc Opens the journal of a locked folder for the calling process, which becomes its owner. `claimed': the threads
%% of a previous owner have not closed the files yet.
-spec open_journal(lock(), full | normal) -> {ok, journal()} | {error, claimed | term()}.
open_journal(Lock, Durability) ->
    Opened = ?ANSWER(open_journal(Lock, Durability, Tag)),
    _ = [ok = own_journal(Journal) || {ok, Journal} <- [Opened]],
    Opened.

open_journal(_Lock, _Durability, _Tag) -> ?MISSING.

own_journal(_Journal) -> ?MISSING.

%% @doc Closes a journal and all shards that were opened with it, and waits until all files are closed.
-spec close_journal(journal()) -> ok.
close_journal(Journal) -> ?ANSWER(close_journal(Journal, Tag)).

close_journal(_Journal, _Tag) -> ?MISSING.

%% @doc How long the commit under way has taken, in milliseconds; how many submissions wait; how many segments are
%% needed still, and their bytes; and the tasks in the background that failed at the last attempt.
-spec journal_stats(journal()) ->
    #{busy_ms := non_neg_integer(), queue_depth := non_neg_integer(), segments := non_neg_integer(),
      file_bytes := non_neg_integer(), background := [{atom(), warp_core:micros(), reason()}]}.
journal_stats(_Journal) -> ?MISSING.

%% @doc Opens a shard for the calling process, which becomes its owner. `claimed': the file of a previous owner has
%% not been closed yet. The shard keeps a list of the open entities of these kinds, which have no row of
%% the aggregate that closes them. A kind has to be in the list from its first entity on.
-spec open(journal(), binary(), {Context :: binary(), Shard :: non_neg_integer(),
           Shards :: pos_integer()}, pos_integer(), [kind()]) ->
    {ok, shard()} | {error, claimed | term()}.
open(Journal, File, Of, QueueLimit, Kinds) ->
    Opened = ?ANSWER(open(Journal, File, Of, QueueLimit, Kinds, Tag)),
    _ = [ok = own_shard(Shard) || {ok, Shard} <- [Opened]],
    Opened.

open(_Journal, _File, _Of, _QueueLimit, _Kinds, _Tag) -> ?MISSING.

own_shard(_Shard) -> ?MISSING.

%% @doc Closes a shard, and waits until its file is closed.
-spec close(shard()) -> ok.
close(Shard) -> ?ANSWER(close(Shard, Tag)).

close(_Shard, _Tag) -> ?MISSING.

%% @doc Queues appends of an entity whose log has to end at seq Base, each with its time. When they are stored
%% the owner of the journal hands out the receipt, or, if that is `silent', nobody is told; without a receipt, and in
%% every other case, the calling process gets an `answer()'. Errors: nothing was queued.
-spec submit(shard(), binary(), Base :: warp_core:seq(), [{packed(), warp_core:micros()}],
             Receipt :: none | silent | term()) -> ok | {error, reason()}.
submit(_Shard, _Entity, _Base, _Appends, _Receipt) -> ?MISSING.

%% @doc As {@link submit/5} without a receipt. The same transaction clears the entity's events at these seqs, as
%% {@link clear/3} does, except that their bytes may stay in the write-ahead log until a later erasure.
-spec submit_clearing(shard(), binary(), warp_core:seq(), [{packed(), warp_core:micros()}],
                      [warp_core:seq()], retyping()) -> ok | {error, reason()}.
submit_clearing(_Shard, _Entity, _Base, _Appends, _Seqs, _Types) -> ?MISSING.

%% @doc Events of an entity that are put back at that time, so far none.
-spec import_new(warp_core:micros()) -> import().
import_new(_At) -> ?MISSING.

%% @doc Checks events of one time, the first of which has the seq First, and packs them as the next row of an import.
%% Gives the bytes of the row, and the events and binaries that {@link pack/4} gives. `dirty': call {@link
%% import_add_dirty/6}. After an error the import is of no use.
-spec import_add(import(), rules(), binary(), [map()], First :: warp_core:seq(), warp_core:micros()) ->
    {ok, Bytes :: pos_integer(), [packed_event()], Parts :: [binary()] | many} | {error, term()} | dirty.
import_add(_Import, _Rules, _Entity, _Events, _First, _RecordedAt) -> ?MISSING.

%% @doc As {@link import_add/6}, on a dirty scheduler.
-spec import_add_dirty(import(), rules(), binary(), [map()], First :: warp_core:seq(), warp_core:micros()) ->
    {ok, Bytes :: pos_integer(), [packed_event()], Parts :: [binary()] | many} | {error, term()}.
import_add_dirty(_Import, _Rules, _Entity, _Events, _First, _RecordedAt) -> ?MISSING.

%% @doc Queues that an entity without events gets all events of an import, in one commit. No id stands in them twice.
%% The calling process gets an `answer()'. Errors: nothing was queued; `interrupted' of one that was released.
-spec import(shard(), binary(), import()) -> ok | {error, reason()}.
import(_Shard, _Entity, _Import) -> ?MISSING.

%% @doc Frees the memory of an import that nobody needs any more.
-spec import_release(import()) -> ok.
import_release(_Import) -> ?MISSING.

%% @doc Queues that the log of an entity, which has to end at seq Base, is erased and begins anew with an append, whose
%% events have no ids: both, or neither. The calling process gets an `answer()', when that is durable. The bytes of
%% what was erased are gone later, without any answer.
-spec replace(shard(), binary(), Base :: warp_core:seq(), packed(), warp_core:micros()) -> ok | {error, reason()}.
replace(_Shard, _Entity, _Base, _Packed, _RecordedAt) -> ?MISSING.

%% @doc Queues the erasure of an entity's log. The answer `erased' comes when none of its bytes is left.
-spec erase(shard(), binary()) -> ok | {error, reason()}.
erase(_Shard, _Entity) -> ?MISSING.

%% @doc Queues the clearing of events: their payloads become empty, and the types that the caller names are
%% replaced. The answer `cleared' comes when no byte of the payloads is left.
-spec clear(shard(), [{binary(), [warp_core:seq()]}], retyping()) -> ok | {error, reason()}.
clear(_Shard, _Events, _Types) -> ?MISSING.

%% @doc Queues a correction of the time of an event. The answer is `corrected' or `no_event'.
-spec correct_time(shard(), binary(), warp_core:seq(), warp_core:micros()) -> ok | {error, reason()}.
correct_time(_Shard, _Entity, _Seq, _RecordedAt) -> ?MISSING.

%% @doc Has the writer answer `passed' when everything that was queued before is stored or has failed.
-spec pass(shard()) -> ok | {error, reason()}.
pass(_Shard) -> ?MISSING.

%% @doc Queues a snapshot: the aggregate, its version, and the seq and time of the last event in the state. Nobody
%% gets an answer.
-spec save_snapshot(shard(), binary(), incarnation(),
                    {binary(), pos_integer(), warp_core:seq(), warp_core:micros()}, binary()) ->
    ok | {error, reason()}.
save_snapshot(_Shard, _Entity, _Incarnation, _Of, _State) -> ?MISSING.

%% @doc The incarnation of an entity, and the seq and time of its last event.
-spec head(shard(), binary()) ->
    {ok, {incarnation(), warp_core:seq(), warp_core:micros()} | none} | {error, reason()}.
head(Shard, Entity) -> ?ANSWER(head(Shard, Entity, Tag)).

head(_Shard, _Entity, _Tag) -> ?MISSING.

%% @doc The latest snapshot of an aggregate: its version, the seq and time of the last event in it, and the state.
-spec snapshot(shard(), incarnation(), binary()) ->
    {ok, {pos_integer(), warp_core:seq(), warp_core:micros(), binary()} | none}
    | {error, reason()}.
snapshot(Shard, Incarnation, Aggregate) -> ?ANSWER(snapshot(Shard, Incarnation, Aggregate, Tag)).

snapshot(_Shard, _Incarnation, _Aggregate, _Tag) -> ?MISSING.

%% @doc Events of an entity from seq From on, `Limit' at most, and the seq to go on from. Backward, a From of 0 is
%% the last event. Takes any incarnation for 0, and gives the one that it read. `changed': the entity is another
%% incarnation by now.
-spec page(shard(), binary(), incarnation(), From :: warp_core:seq(), Limit :: pos_integer(),
           forward | backward) ->
    {ok, {incarnation(), [warp_core:event()], warp_core:seq() | done}} | {error, reason()}.
page(Shard, Entity, Incarnation, From, Limit, Direction) ->
    terms(?ANSWER(page(Shard, Entity, Incarnation, From, Limit, Direction, Tag))).

page(_Shard, _Entity, _Incarnation, _From, _Limit, _Direction, _Tag) -> ?MISSING.

%% @doc Which ids of an append the entity's log has already.
-spec check_ids(shard(), binary(), packed()) -> {ok, none | stop()} | {error, reason()}.
check_ids(Shard, Entity, Packed) -> ?ANSWER(check_ids(Shard, Entity, Packed, Tag)).

check_ids(_Shard, _Entity, _Packed, _Tag) -> ?MISSING.

%% @doc The open entities of a kind that the shard was opened with; and, for open entities of any kind that cannot
%% be read, messages that say what is wrong with them.
-spec open_entities(shard(), Prefix :: binary()) -> {ok, {[binary()], [binary()]}} | {error, reason()}.
open_entities(Shard, Prefix) -> ?ANSWER(open_entities(Shard, Prefix, Tag)).

open_entities(_Shard, _Prefix, _Tag) -> ?MISSING.

%% @doc The closed entities of a kind that the shard was opened with: those whose last row is older than a time, in the
%% order in which they began, at most Limit, with the seqs of their last events. After is 0 for the first of them,
%% and then what the call before gave, until that is `done'.
-spec closed_entities(shard(), Prefix :: binary(), Before :: warp_core:micros(), After :: non_neg_integer(),
                      Limit :: pos_integer()) ->
    {ok, {[{binary(), warp_core:seq()}], non_neg_integer() | done}} | {error, reason()}.
closed_entities(Shard, Prefix, Before, After, Limit) ->
    ?ANSWER(closed_entities(Shard, Prefix, Before, After, Limit, Tag)).

closed_entities(_Shard, _Prefix, _Before, _After, _Limit, _Tag) -> ?MISSING.

%% @doc The users' entities of a shard that stand behind a place in the list of all, at most Limit, with the seqs of
%% their last events: those whose ids begin with a prefix, and that have events of one of the aggregates (`undefined':
%% of any). What is given for the next call's After is `done' when all were looked at. A call looks at about a thousand
%% entities.
-spec entities(shard(), After :: first | place(), Prefix :: binary(), Aggregates :: [binary()] | undefined,
               Limit :: pos_integer()) ->
    {ok, {[{binary(), warp_core:seq()}], place() | done}} | {error, reason()}.
entities(Shard, After, Prefix, Aggregates, Limit) ->
    Place = case After of first -> {-1 bsl 63, -1 bsl 63}; _ -> After end,
    ?ANSWER(entities(Shard, Place, Prefix, Aggregates, Limit, Tag)).

entities(_Shard, _Place, _Prefix, _Aggregates, _Limit, _Tag) -> ?MISSING.

%% @doc About how many entities a shard has, those of users: up to about 16,000 it is exact but for what changes
%% meanwhile, and beyond that it may be wrong by some percent. A call takes no longer when there are more. In a shard
%% that has had events of more than 62 aggregates, Warp's own entities may be counted too. Errors: `closed'; those of
%% the disk.
-spec entity_count(shard()) -> {ok, non_neg_integer()} | {error, reason()}.
entity_count(Shard) -> ?ANSWER(entity_count(Shard, Tag)).

entity_count(_Shard, _Tag) -> ?MISSING.

%% @doc The aggregates that a shard's file has events of, without those given and Warp's own, each with how many
%% entities have such events.
-spec other_aggregates(shard(), Known :: [binary()]) ->
    {ok, [{Aggregate :: binary(), Entities :: pos_integer()}]} | {error, reason()}.
other_aggregates(Shard, Known) -> ?ANSWER(other_aggregates(Shard, Known, Tag)).

other_aggregates(_Shard, _Known, _Tag) -> ?MISSING.

%% @doc The correlations of an entity's events, each with the number of the event in its correlation. Takes only
%% events whose id consists of the `correlation' in their metadata, one of the infixes, and a decimal number.
%% Each pair comes once.
%%
%% An entity can have millions of events with a correlation, and memory holds only those with ids of that
%% form.
-spec correlations(shard(), binary(), Infixes :: [binary()]) ->
    {ok, [{Correlation :: binary(), Number :: non_neg_integer()}]} | {error, reason()}.
correlations(Shard, Entity, Infixes) -> ?ANSWER(correlations(Shard, Entity, Infixes, Tag)).

correlations(_Shard, _Entity, _Infixes, _Tag) -> ?MISSING.

%% @doc The counters of a shard.
-spec stats(shard()) -> map().
stats(_Shard) -> ?MISSING.

%% @doc For tests: has the engine fail in a chosen way. `undefined' in a library without such faults.
-spec fault({panic | fsync_fails | fail_at | stall | slow_open | abort_after | rows_at_once, non_neg_integer()}
            | off) -> ok | undefined.
fault(_Kind) -> ?MISSING.

%% @doc The incarnation of an entity, the seq of its last event and the position of its last row; none when it
%% has no events.
-spec last_row(shard(), binary()) ->
    {ok, {incarnation(), warp_core:seq(), Position :: pos_integer()} | none} | {error, reason()}.
last_row(Shard, Entity) -> ?ANSWER(last_row(Shard, Entity, Tag)).

last_row(_Shard, _Entity, _Tag) -> ?MISSING.

%% @doc The log after a position: the rows of the followed entities, each with its events of the aggregates given.
%% A call reads about MaxBytes of the log, rows of other entities included; the next call goes on after Last.
-spec follow(shard(), After :: non_neg_integer(), MaxBytes :: pos_integer(), followed(),
             Aggregates :: [binary()] | all) ->
    {ok, {[{Position :: pos_integer(), Entity :: binary(), First :: warp_core:seq(),
            Last :: warp_core:seq(), [warp_core:event()]}],
          Last :: non_neg_integer(), done | more}}
    | {error, reason()}.
follow(Shard, After, MaxBytes, Followed, Aggregates) ->
    terms(?ANSWER(follow(Shard, After, MaxBytes, Followed, Aggregates, Tag))).

follow(_Shard, _After, _MaxBytes, _Followed, _Aggregates, _Tag) -> ?MISSING.

%% @doc The rows of an entity that have up to so many events from a seq on, each with its events of the aggregates
%% given, and the seq to go on from. Takes any incarnation for 0, and gives the one that it read. `changed': the entity
%% is another incarnation by now.
-spec follow_entity(shard(), binary(), incarnation(), From :: warp_core:seq(), Limit :: pos_integer(),
                    Aggregates :: [binary()] | all) ->
    {ok, {incarnation(),
          [{Position :: pos_integer(), Entity :: binary(), First :: warp_core:seq(), Last :: warp_core:seq(),
            [warp_core:event()]}],
          warp_core:seq() | done}}
    | {error, reason()}.
follow_entity(Shard, Entity, Incarnation, From, Limit, Aggregates) ->
    terms(?ANSWER(follow_entity(Shard, Entity, Incarnation, From, Limit, Aggregates, Tag))).

follow_entity(_Shard, _Entity, _Incarnation, _From, _Limit, _Aggregates, _Tag) -> ?MISSING.

%% @doc The position of the last row that was recorded before a time, 0 when there is none.
-spec position_before(shard(), warp_core:micros()) -> {ok, non_neg_integer()} | {error, reason()}.
position_before(Shard, Time) -> ?ANSWER(position_before(Shard, Time, Tag)).

position_before(_Shard, _Time, _Tag) -> ?MISSING.

%% The calling process makes terms of the events. OTP 25 crashes when a thread of the library makes a map of more
%% than 32 keys.
terms({ok, {Found, normal}}) -> found(Found);
terms({ok, {Found, dirty}}) -> found_dirty(Found);
terms({error, _} = Error) -> Error.

found(_Found) -> ?MISSING.

found_dirty(_Found) -> ?MISSING.

%% @doc The run that wrote the row at a position: 0 for a row from before there were runs, and `none' when the log
%% ends before the position.
-spec run_of(shard(), Position :: non_neg_integer()) ->
    {ok, Run :: non_neg_integer() | none} | {error, reason()}.
run_of(Shard, Position) -> ?ANSWER(run_of(Shard, Position, Tag)).

run_of(_Shard, _Position, _Tag) -> ?MISSING.

%% @doc Opens a projection's file for the calling process. Waits up to 30 seconds for a previous owner to close
%% it.
-spec projection_open(binary(), Durable :: boolean(), access()) -> {ok, projection()} | {error, term()}.
projection_open(File, Durable, Access) ->
    Open = fun() -> ?ANSWER(projection_open(File, Durable, Access, Tag)) end,
    IsClaimed = fun(Result) -> Result =:= {error, claimed} end,
    case warp_retry:while(IsClaimed, {?CLAIM_PAUSE_MS, infinity}, warp_deadline:from(?CLAIM_PATIENCE_MS), Open) of
        {ok, Projection} = Opened -> ok = projection_own(Projection), Opened;
        {error, claimed} -> {error, {io_error, <<"its previous owner has not closed the file yet">>}};
        {error, _} = Error -> Error
    end.

projection_open(_File, _Durable, _Access, _Tag) -> ?MISSING.

projection_own(_Projection) -> ?MISSING.

%% @doc Carries out a few statements as one transaction. `{refused, N, Message}': SQLite refused the Nth
%% statement. `{away, Why}': the file cannot be used now.
-spec projection_execute(projection(), [warp_projection_target:statement()]) ->
    ok | {error, {refused, pos_integer(), binary()} | {away, term()} | reason()}.
projection_execute(Projection, Statements) ->
    ?ANSWER(projection_execute(Projection, Statements, Tag)).

projection_execute(_Projection, _Statements, _Tag) -> ?MISSING.

%% @doc As {@link projection_execute/2}, for many statements: a dirty scheduler carries them out, and nobody copies
%% them.
-spec projection_execute_batch(projection(), [warp_projection_target:statement()]) ->
    ok | {error, {refused, pos_integer(), binary()} | {away, term()}}.
projection_execute_batch(_Projection, _Statements) -> ?MISSING.

%% @doc Carries out a read of Warp's own, not of a user.
-spec projection_read(projection(), binary(), [warp_projection_target:value()], pos_integer()) ->
    {ok, {Columns :: [binary()], Rows :: [[term()]]}}
    | {error, {sql_error, binary()} | {result_too_large, pos_integer()} | timeout | {away, reason()}}.
projection_read(Projection, Sql, Params, TimeoutMs) ->
    ?ANSWER(projection_read(Projection, Sql, Params, TimeoutMs, Tag)).

projection_read(_Projection, _Sql, _Params, _TimeoutMs, _Tag) -> ?MISSING.

%% @doc Removes the bytes of deleted rows from the file and from its write-ahead log.
-spec projection_tidy(projection()) -> ok | {error, reason()}.
projection_tidy(Projection) -> ?ANSWER(projection_tidy(Projection, Tag)).

projection_tidy(_Projection, _Tag) -> ?MISSING.

%% @doc Moves the write-ahead log into the file and empties it, unless somebody reads. Gives whether it is empty.
-spec projection_trim(projection()) -> {ok, Emptied :: boolean()} | {error, reason()}.
projection_trim(Projection) -> ?ANSWER(projection_trim(Projection, Tag)).

projection_trim(_Projection, _Tag) -> ?MISSING.

%% @doc Closes a projection's file, and waits until it is closed.
-spec projection_close(projection()) -> ok.
projection_close(Projection) -> ?ANSWER(projection_close(Projection, Tag)).

projection_close(_Projection, _Tag) -> ?MISSING.

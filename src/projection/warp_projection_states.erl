%% @private Keeps states of entities on disk for which a projector has no room in memory, so that they need
%% not be folded from the log again. Each projector has a scratch file of its own. Nothing depends on the
%% file: a state that is not in it is folded.
%%
%% States are personal data. They are encrypted with a key that only the projector's worker has and that is
%% written nowhere. So nobody can read the bytes that SQLite leaves of a deleted row, or that the file
%% system leaves of a deleted file. The encryption also tells whether a state is read as it was written.
-module(warp_projection_states).

-export([new/3, clean/1, clean/3, is_empty/1, keep/2, find/2, forget/2]).

-include_lib("kernel/include/logger.hrl").

-export_type([kept/0]).

-record(kept, {
    context :: warp_context:context(),
    prefix :: string(),
    %% `none' until a state is kept, and after the file failed.
    file = none :: none | {warp_nif:projection(), Name :: binary()},
    key = <<>> :: binary(),
    salt = <<>> :: binary(),
    %% No two states are encrypted with the same number.
    count = 0 :: non_neg_integer(),
    said = false :: boolean()
}).

-opaque kept() :: #kept{}.
-type states() :: warp_aggregate:states().

%% How large a state may be, in words; a larger one is folded again. Terms that share parts take more on disk
%% than in memory, and are counted as on disk.
-define(MAX_WORDS, 128 * 1024).
%% How large the file may become. Then a new one replaces it.
-define(MAX_BYTES, 4 * 1024 * 1024 * 1024).
-define(QUERY, #{max_rows => infinity, timeout => 10000, level => default}).
-define(CIPHER, aes_128_gcm).

%% @doc Begins without a file, and deletes those that a previous worker left.
-spec new(warp_context:context(), non_neg_integer(), pos_integer()) -> kept().
new(Context, N, Generation) ->
    ok = clean(Context, N, Generation),
    #kept{context = Context, prefix = prefix(N, Generation)}.

%% @doc Deletes the files that projectors of the context left.
-spec clean(warp_context:context()) -> ok.
clean(Context) -> delete(Context, "states-").

%% @doc Deletes the files that projectors of a shard and generation left.
-spec clean(warp_context:context(), non_neg_integer(), pos_integer()) -> ok.
clean(Context, N, Generation) -> delete(Context, [prefix(N, Generation), "-"]).

prefix(N, Generation) -> lists:flatten(io_lib:format("states-~4..0b-~b", [N, Generation rem 2])).

%% A file that cannot be deleted takes room, but nobody can read it.
delete(#{dir := Dir}, Prefix) ->
    _ = warp_nif:delete_files(Dir, iolist_to_binary(Prefix)),
    ok.

-spec is_empty(kept()) -> boolean().
is_empty(#kept{file = File}) -> File =:= none.

%% @doc Keeps states, each with the seq of the last event in it.
-spec keep([{binary(), warp_core:seq(), states()}], kept()) -> kept().
keep([], Kept) ->
    Kept;
keep(States, #kept{file = none} = Kept) ->
    case open(Kept) of
        {ok, Open} -> keep(States, Open);
        {error, Why} -> failed(Why, Kept)
    end;
keep(States, #kept{context = #{dir := Dir}, file = {Handle, Name}} = Kept) ->
    case warp_nif:file_bytes(filename:join(Dir, Name)) of
        {ok, Bytes} when Bytes > ?MAX_BYTES ->
            keep(States, close(Kept));
        _ ->
            write(States, Handle, Kept)
    end.

write(States, Handle, Kept) ->
    {Rows, Next} = lists:foldl(fun row/2, {[], Kept}, States),
    %% In the order of their keys, since SQLite writes neighbours together.
    Sql = <<"INSERT INTO states VALUES (?1, ?2, ?3) "
            "ON CONFLICT (key) DO UPDATE SET seq = excluded.seq, state = excluded.state">>,
    case warp_nif:projection_execute_batch(Handle, [{Sql, lists:sort(Rows)}]) of
        ok -> Next;
        {error, Why} -> failed(Why, Next)
    end.

row({Entity, Seq, States}, {Rows, Kept}) ->
    case is_plain(States) of
        true ->
            #kept{count = Count, key = Key} = Kept,
            Nonce = <<Count:96>>,
            {Cipher, Tag} = crypto:crypto_one_time_aead(
                ?CIPHER, Key, Nonce, warp_term:to_bytes(States), about(Entity, Seq), true),
            {[[key(Entity, Kept), Seq, text(<<Nonce/binary, Tag/binary, Cipher/binary>>)] | Rows],
             Kept#kept{count = Count + 1}};
        false ->
            {Rows, Kept}
    end.

%% @doc The states that are kept of these entities.
-spec find([binary()], kept()) -> {#{binary() => {warp_core:seq(), states()}}, kept()}.
find([], Kept) ->
    {#{}, Kept};
find(_Entities, #kept{file = none} = Kept) ->
    {#{}, Kept};
find(Entities, #kept{file = {Handle, _}} = Kept) ->
    Keys = maps:from_list([{key(Entity, Kept), Entity} || Entity <- Entities]),
    Json = iolist_to_binary([$[, lists:join($,, [integer_to_binary(K) || K <- maps:keys(Keys)]), $]]),
    Sql = <<"SELECT key, seq, state FROM states WHERE key IN (SELECT value FROM json_each(?1))">>,
    case warp_projection_embedded:query(Handle, Sql, [Json], ?QUERY) of
        {ok, #{rows := Rows}} ->
            {lists:foldl(fun(Row, Acc) -> found(Row, Keys, Kept, Acc) end, #{}, Rows), Kept};
        %% They are too large to be read at once, and are folded.
        {error, {result_too_large, _}} ->
            {#{}, Kept};
        {error, Why} ->
            {#{}, failed(Why, Kept)}
    end.

found([Key, Seq, Text], Keys, #kept{key = Secret}, Found) ->
    #{Key := Entity} = Keys,
    case unicode:characters_to_binary(Text, utf8, latin1) of
        <<Nonce:12/binary, Tag:16/binary, Cipher/binary>> ->
            case crypto:crypto_one_time_aead(?CIPHER, Secret, Nonce, Cipher, about(Entity, Seq), Tag, false) of
                error -> Found;
                Plain ->
                    case warp_term:from_bytes(Plain) of
                        {ok, States} -> Found#{Entity => {Seq, States}};
                        unreadable -> Found
                    end
            end;
        _ ->
            Found
    end.

%% @doc Deletes the state of an entity that was erased.
-spec forget(binary(), kept()) -> kept().
forget(_Entity, #kept{file = none} = Kept) ->
    Kept;
forget(Entity, #kept{file = {Handle, _}} = Kept) ->
    Sql = <<"DELETE FROM states WHERE key = ?1">>,
    case warp_nif:projection_execute(Handle, [{Sql, [[key(Entity, Kept)]]}]) of
        ok -> Kept;
        {error, Why} -> failed(Why, Kept)
    end.

%% Of two entities with the same key only the last one is kept, and the other one is folded again.
key(Entity, #kept{salt = Salt}) -> erlang:phash2([Salt | Entity], 1 bsl 32).

about(Entity, Seq) -> <<Seq:64, Entity/binary>>.

%% The file takes text, so each byte becomes the character of that number.
text(Bytes) -> unicode:characters_to_binary(Bytes, latin1, utf8).

%% ------------------------------------------------------------------ The file

open(#kept{context = #{dir := Dir} = Context, prefix = Prefix} = Kept) ->
    %% Each file has a name of its own, since the previous one may not be closed yet.
    Unique = erlang:unique_integer([positive]),
    Time = erlang:system_time(),
    Name = iolist_to_binary(io_lib:format("~ts-~b-~b.db", [Prefix, Time, Unique])),
    case warp_nif:projection_open(filename:join(Dir, Name), false, owner) of
        {ok, Handle} -> prepare(Handle, Kept#kept{file = {Handle, Name}});
        {error, _} = Error -> ok = delete(Context, Name), Error
    end.

prepare(Handle, Kept) ->
    Sql = <<"CREATE TABLE states (key INTEGER PRIMARY KEY, seq INTEGER NOT NULL, state TEXT NOT NULL)">>,
    case warp_nif:projection_execute(Handle, [{Sql, [[]]}]) of
        ok ->
            {ok, Kept#kept{key = crypto:strong_rand_bytes(16), salt = crypto:strong_rand_bytes(8), count = 0}};
        {error, _} = Error ->
            _ = close(Kept),
            Error
    end.

close(#kept{file = none} = Kept) ->
    Kept;
close(#kept{context = Context, file = {Handle, Name}} = Kept) ->
    ok = warp_nif:projection_close(Handle),
    ok = delete(Context, Name),
    Kept#kept{file = none}.

%% Gives the file up with all that is in it. The next states that have no room in memory go to a new one.
failed(Why, #kept{context = #{name := Name}, said = Said} = Kept) ->
    _ = [?LOG_WARNING("Warp: states of the projection of context ~ts cannot be kept on disk, and are "
                      "folded from the log instead, which takes longer: ~0tp", [Name, Why])
         || not Said],
    (close(Kept))#kept{said = true}.

%% ------------------------------------------------------------------ What can be kept

%% Whether a term is not too large, and equal when it is read again. A function, a process or a reference
%% may mean something else by then.
is_plain(Term) ->
    try
        _ = plain(Term, ?MAX_WORDS),
        true
    catch
        throw:no -> false
    end.

plain(_Term, Left) when Left < 0 -> throw(no);
plain(Term, Left) when is_atom(Term) -> Left;
plain(Term, Left) when is_integer(Term), Term >= -(1 bsl 59), Term < 1 bsl 59 -> Left - 1;
plain(Term, Left) when is_bitstring(Term) -> Left - 3 - byte_size(Term) div 8;
plain(Term, Left) when is_float(Term) -> Left - 2;
plain(Term, Left) when is_integer(Term) -> Left - erlang:external_size(Term) div 8;
plain([Head | Tail], Left) -> plain(Tail, plain(Head, Left - 2));
plain([], Left) -> Left;
plain(Term, Left) when is_tuple(Term) -> plain(tuple_to_list(Term), Left - 1);
plain(Term, Left) when is_map(Term) ->
    maps:fold(fun(Key, Value, Rest) -> plain(Value, plain(Key, Rest)) end, Left - 2, Term);
plain(_Other, _Left) -> throw(no).

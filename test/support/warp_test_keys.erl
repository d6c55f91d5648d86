%% The keys of lives, which backups seal with: making them in a context, and what the shards' files have of them.
-module(warp_test_keys).

-export([make/1, make/2, life/2, read/1, edits/1]).

%% Has all lives of a context get their keys.
make(Ctx) ->
    {warp_context, _, Shards} = Ctx,
    [ok = make(Ctx, N) || N <- lists:seq(0, Shards - 1)],
    ok.

%% Likewise those of one shard.
make(Ctx, N) ->
    {ok, Context} = warp_context:find(Ctx),
    {ok, Handle} = warp_context:shard(Context, N),
    warp_nif:make_keys(Handle, 1 bsl 62).

%% The shard of an entity, and the position where its life began.
life(Ctx, Id) ->
    {warp_context, _, Shards} = Ctx,
    {ok, N} = warp_nif:shard_of(Id, Shards),
    {ok, Context} = warp_context:find(Ctx),
    {ok, Handle} = warp_context:shard(Context, N),
    {ok, {Incarnation, _, _}} = warp_nif:head(Handle, Id),
    {N, Incarnation}.

%% The keys in the file of a shard, by the position of the life; none in one without keys.
read(File) ->
    maps:from_list([{binary_to_integer(At), binary:decode_hex(Keys)}
                    || {[At, Keys], _} <- rows(File, "keys", "position || '|' || hex(key)")]).

%% What became of lives and rows, as text.
edits(File) ->
    [Edit || {_, Edit} <- rows(File, "edits", "position || '|' || what || '|' || of")].

rows(File, Table, Columns) ->
    case warp_test:sqlite(File, ["SELECT 1 FROM sqlite_schema WHERE name = '", Table, "'"]) of
        [] -> [];
        [_] -> [{binary:split(Row, <<"|">>), Row}
                || Row <- warp_test:sqlite(File, ["SELECT ", Columns, " FROM ", Table, " ORDER BY 1"])]
    end.

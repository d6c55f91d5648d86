%% @private The segments of a target: their names, and where a context goes on.
-module(warp_backup_stream).

-export([number/0, name/1, numbers/1, last/3, state/3, reaches/3, page/2, pages/1, index/0, covered/2, is_covered/2]).

-export_type([state/0, reaches/0, covered/0]).

%% Where the next segment goes on: the number and the SHA-256 of the last one, and how far the segments go.
-type state() :: #{segment := non_neg_integer(), hash := binary(), reaches := reaches()}.
%% For each shard the last position that the segments have, with its run.
-type reaches() :: #{non_neg_integer() => {Position :: integer(), Run :: integer()}}.
%% For each shard up to which position the key pages are complete.
-type covered() :: #{non_neg_integer() => integer()}.

%% All nodes of a cluster write one stream, one after the other.
-define(STREAM, 1).

%% @doc The number of the stream.
-spec number() -> pos_integer().
number() -> ?STREAM.

%% @doc The name of a segment.
-spec name(Segment :: pos_integer()) -> warp_backup_target:name().
name(Segment) -> text("segments/~16.16.0b/~10..0b", [?STREAM, Segment]).

%% @doc The names of the segments with the numbers of stream and segment and the sizes, in order.
-spec numbers(warp_backup_target:open()) ->
    {ok, [{Stream :: non_neg_integer(), Segment :: pos_integer(), warp_backup_target:name(), Bytes :: integer()}]}
    | {error, term()}.
numbers(Target) ->
    case warp_backup_target:list(Target, <<"segments/">>) of
        {ok, Found} -> {ok, lists:append([of_name(Name, Bytes) || {Name, Bytes} <- Found])};
        {error, _} = Error -> Error
    end.

of_name(<<"segments/", Stream:16/binary, "/", Segment:10/binary>> = Name, Bytes) ->
    try [{binary_to_integer(Stream, 16), binary_to_integer(Segment), Name, Bytes}] catch error:badarg -> [] end;
of_name(_Name, _Bytes) ->
    [].

%% @doc Where the stream goes on, from its last segment. Errors: those of the target, and what is wrong with the
%% segment.
-spec last(warp_backup_target:open(), Backup :: non_neg_integer(), Shards :: pos_integer()) ->
    {ok, state()} | {error, term()}.
last(Target, Backup, Shards) ->
    case numbers(Target) of
        {ok, []} ->
            Reaches = maps:from_list([{N, {0, 0}} || N <- lists:seq(0, Shards - 1)]),
            {ok, #{segment => 0, hash => <<0:256>>, reaches => Reaches}};
        {ok, Found} ->
            {_, Segment, Name, _} = lists:last(Found),
            of_last(warp_backup_target:read(Target, Name), Backup, Segment);
        {error, _} = Error ->
            Error
    end.

%% @doc How far the segments go up to this one. Errors: as above.
-spec reaches(warp_backup_target:open(), Backup :: non_neg_integer(), Segment :: pos_integer()) ->
    {ok, reaches()} | {error, term()}.
reaches(Target, Backup, Segment) ->
    case of_last(warp_backup_target:read(Target, name(Segment)), Backup, Segment) of
        {ok, #{reaches := Reaches}} -> {ok, Reaches};
        {error, _} = Error -> Error
    end.

of_last({ok, Bytes}, Backup, Segment) ->
    state(Bytes, Backup, Segment);
of_last(not_found, _Backup, Segment) ->
    {error, {backup_damaged, text("segment ~b went away while it was read", [Segment])}};
of_last({error, _} = Error, _Backup, _Segment) ->
    Error.

%% @doc Where the stream goes on behind a segment. Error: what is wrong with the segment.
-spec state(Segment :: binary(), Backup :: non_neg_integer(), Number :: pos_integer()) ->
    {ok, state()} | {error, term()}.
state(Bytes, Backup, Segment) ->
    case warp_nif:chain_add(warp_nif:chain_new(), Backup, Segment, Bytes) of
        {ok, {_, _, Hash, Reaches, []}} ->
            {ok, #{segment => Segment, hash => Hash,
                   reaches => maps:from_list([{N, {To, Run}} || {N, _, To, Run} <- Reaches])}};
        {ok, {_, _, _, _, [Damage | _]}} ->
            {error, {backup_damaged, Damage}};
        {error, _} = Error ->
            Error
    end.

%% @doc The name of a key page.
-spec page(Shard :: non_neg_integer(), Page :: non_neg_integer()) -> warp_backup_target:name().
page(Shard, Page) -> text("keys/~4..0b/~10..0b", [Shard, Page]).

%% @doc The key pages: the numbers of shard and page, and the name.
-spec pages(warp_backup_target:open()) ->
    {ok, [{Shard :: non_neg_integer(), Page :: non_neg_integer(), warp_backup_target:name()}]} | {error, term()}.
pages(Target) ->
    case warp_backup_target:list(Target, <<"keys/">>) of
        {ok, Found} ->
            {ok, [{binary_to_integer(Shard), binary_to_integer(Page), Name}
                  || {<<"keys/", Shard:4/binary, "/", Page:10/binary>> = Name, _} <- Found]};
        {error, _} = Error ->
            Error
    end.

%% @doc The name of the index of the key pages.
-spec index() -> warp_backup_target:name().
index() -> <<"keys/index">>.

%% @doc Up to where the key pages are complete, as their index says; nowhere without one. Errors: those of the target,
%% and what is wrong with the index.
-spec covered(warp_backup_target:open(), Backup :: non_neg_integer()) -> {ok, covered()} | {error, term()}.
covered(Keys, Backup) ->
    case warp_backup_target:read(Keys, index()) of
        {ok, Index} ->
            case warp_nif:keys_index(Backup, Index) of
                {ok, {_, _, Shards}} -> {ok, maps:from_list([{N, Edits} || {N, _, Edits} <- Shards])};
                {error, _} = Error -> Error
            end;
        not_found ->
            {ok, #{}};
        {error, _} = Error ->
            Error
    end.

%% @doc Whether the key pages have all keys of segments that go so far.
-spec is_covered(reaches(), covered()) -> boolean().
is_covered(Reaches, Covered) ->
    lists:all(fun({N, {To, _}}) -> To =< maps:get(N, Covered, 0) end, maps:to_list(Reaches)).

text(Format, Values) -> unicode:characters_to_binary(io_lib:format(Format, Values)).

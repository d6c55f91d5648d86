%% @private The cuts of a backup: the points in time that it can be restored to.
-module(warp_backup_cuts).

-export([all/1, of_segment/4, restorable/4, check/4]).

-export_type([cut/0, until/0, check/0]).

%% A cut is completed by the segment of its number.
-type cut() :: #{cut := pos_integer(), at := warp_core:micros(), segments := pos_integer(), bytes := pos_integer()}.
%% Whether the key pages are as new as the segments.
-type check() :: #{cut := pos_integer(), at := warp_core:micros(), keys_at := warp_core:micros(),
                   older := [Shard :: non_neg_integer()]}.
%% Which cut: the last one; the one of this number; or the last one that was made at this time or before it.
-type until() :: 'end' | {cut, pos_integer()} | {time, warp_core:micros()}.

%% How much of the end of a segment says whether it completes a cut.
-define(END_BYTES, 256).

%% @doc All cuts, the oldest first, with how many segments and bytes there are up to each. Errors: those of the target;
%% `{backup_damaged, Message}'.
-spec all(warp_backup_target:open()) -> {ok, [cut()]} | {error, term()}.
all(Target) ->
    case warp_backup_stream:numbers(Target) of
        {ok, Segments} -> each(Segments, Target, {0, 0}, []);
        {error, _} = Error -> Error
    end.

each([], _Target, _Sum, Cuts) ->
    {ok, lists:reverse(Cuts)};
each([{_Stream, Number, Name, Bytes} | Segments], Target, {Count, Before}, Cuts) ->
    Sum = {Count + 1, Before + Bytes},
    case of_segment(Target, Number, Name, Bytes) of
        {ok, none} ->
            each(Segments, Target, Sum, Cuts);
        {ok, {Cut, At}} ->
            Found = #{cut => Cut, at => At, segments => Count + 1, bytes => Before + Bytes},
            each(Segments, Target, Sum, [Found | Cuts]);
        not_found ->
            each(Segments, Target, {Count, Before}, Cuts);
        {error, _} = Error ->
            Error
    end.

%% @doc The cut that a segment of so many bytes completes. `not_found': it was merged into another one meanwhile.
%% Errors: as above.
-spec of_segment(warp_backup_target:open(), Segment :: pos_integer(), warp_backup_target:name(), pos_integer()) ->
    {ok, {Cut :: pos_integer(), warp_core:micros()} | none} | not_found | {error, term()}.
of_segment(Target, Number, Name, Bytes) ->
    case warp_backup_target:read(Target, Name, max(0, Bytes - ?END_BYTES), ?END_BYTES) of
        {ok, End} ->
            case warp_nif:segment_cut(Number, End) of
                {ok, _} = Cut -> Cut;
                %% A merged one may have taken its place since it was listed, and end elsewhere.
                {error, _} -> of_whole(warp_backup_target:read(Target, Name), Number)
            end;
        not_found ->
            not_found;
        {error, _} = Error ->
            Error
    end.

of_whole({ok, Object}, Number) ->
    Size = min(byte_size(Object), ?END_BYTES),
    warp_nif:segment_cut(Number, binary:part(Object, byte_size(Object), -Size));
of_whole(Other, _Number) ->
    Other.

%% @doc The cut that a restore takes, and the one that it leaves out, if it does. While a run is under way, or after one
%% that was interrupted, the keys of the newest cut may not be stored yet: only who asks for that one by its number gets
%% it then. Errors: `{no_such_cut, Until}'; those of the targets; `{backup_damaged, Message}'.
-spec restorable(warp_backup_target:open(), Keys :: warp_backup_target:open(), Backup :: non_neg_integer(), until()) ->
    {ok, {cut(), LeftOut :: none | pos_integer()}} | {error, term()}.
restorable(Target, Keys, Backup, Until) ->
    case {all(Target), Until} of
        {{ok, Cuts}, {cut, _}} ->
            find(Cuts, none, Until);
        {{ok, Cuts}, _} ->
            %% NOTE: the index is read after the list of cuts. A run may go on meanwhile.
            Covered = warp_backup_stream:covered(Keys, Backup),
            HasKeys = fun(#{cut := Cut}) -> has_keys(warp_backup_stream:reaches(Target, Backup, Cut), Covered) end,
            {Left, LeftOut} = with_keys(lists:reverse(Cuts), HasKeys),
            find(Left, LeftOut, Until);
        {{error, _} = Error, _} ->
            Error
    end.

%% What else is wrong is found, and said, when the backup is read.
with_keys([#{cut := Newest} = Cut, Before | Older], HasKeys) ->
    case HasKeys(Cut) orelse not HasKeys(Before) of
        true -> {lists:reverse([Cut, Before | Older]), none};
        false -> {lists:reverse([Before | Older]), Newest}
    end;
with_keys(Cuts, _HasKeys) ->
    {Cuts, none}.

has_keys({ok, Reaches}, {ok, Covered}) -> warp_backup_stream:is_covered(Reaches, Covered);
has_keys(_, _) -> true.

%% One of them.
find(Cuts, LeftOut, Until) ->
    Fits = fun(#{cut := Cut, at := At}) ->
        case Until of
            'end' -> true;
            {cut, Number} -> Cut =:= Number;
            {time, Time} -> At =< Time
        end
    end,
    case lists:filter(Fits, Cuts) of
        [] -> {error, {no_such_cut, Until}};
        Found -> {ok, {lists:last(Found), LeftOut}}
    end.

%% @doc Compares the key pages with the segments of a backup. Errors: `no_backup', while it has no cut; `no_keys';
%% those of the targets.
-spec check(warp_backup_target:open(), warp_backup_target:open(), Backup :: non_neg_integer(),
            Shards :: pos_integer()) -> {ok, check()} | {error, term()}.
check(Target, Keys, Backup, Shards) ->
    case {all(Target), warp_backup_target:read(Keys, warp_backup_stream:index())} of
        {{ok, []}, _} -> {error, no_backup};
        {{ok, Cuts}, {ok, Index}} ->
            older(Target, Backup, Shards, lists:last(Cuts), warp_nif:keys_index(Backup, Index));
        {{ok, _}, not_found} -> {error, no_keys};
        {{error, _} = Error, _} -> Error;
        {_, {error, _} = Error} -> Error
    end.

older(Target, Backup, Shards, #{cut := Cut, at := At}, {ok, {_, KeysAt, Covered}}) ->
    case warp_backup_stream:last(Target, Backup, Shards) of
        {ok, #{reaches := Reaches}} ->
            Older = [N || {N, {To, _}} <- lists:sort(maps:to_list(Reaches)),
                          not lists:any(fun({Of, _, Edits}) -> Of =:= N andalso Edits >= To end, Covered)],
            {ok, #{cut => Cut, at => At, keys_at => KeysAt, older => Older}};
        {error, _} = Error ->
            Error
    end;
older(_Target, _Backup, _Shards, _Cut, {error, _} = Error) ->
    Error.

%% @private Which cuts of a backup are kept, and so which of its segments may be merged. Pure.
%%
%% Merging segments drops the cuts between them, so only those up to the oldest cut that is kept are merged. A group is
%% made of neighbours of about the same size, as in a log-structured merge tree (O'Neil and others, 1996), with tiers of
%% growing size: each row is written again a number of times that grows with the logarithm of the size of the backup.
-module(warp_backup_keep).

-export([check/1, some/2, all/1, candidates/2, oldest/4]).

-export_type([keep/0, segment/0, cut_of/0]).

%% The last so many cuts; and all that are needed to restore any time up to so many milliseconds ago. With both, what
%% either of them keeps.
-type keep() :: all | #{cuts => pos_integer(), age => pos_integer()}.
-type segment() :: {Number :: pos_integer(), Bytes :: non_neg_integer()}.
%% The time of the cut that a segment completes.
-type cut_of() :: fun((segment()) -> none | warp_core:micros()).

%% So many neighbours are merged at once, at least.
-define(GROUP, 8).
%% Segments of so many bytes stay as they are: a merged one has at most 32 MiB of rows, of which most is packed.
-define(LARGE_BYTES, 4 * 1024 * 1024).

%% @doc Checks what the user gave. `Why' of an error says what is wrong with it.
-spec check(term()) -> {ok, keep()} | {error, Why :: term()}.
check(all) -> {ok, all};
check(#{} = Keep) when map_size(Keep) > 0 ->
    Wrong = [Key || {Key, Value} <- maps:to_list(Keep),
                    not lists:member(Key, [cuts, age]) orelse not is_integer(Value) orelse Value < 1],
    case Wrong of
        [] -> {ok, Keep};
        _ -> {error, not_what_to_keep}
    end;
check(_) -> {error, not_what_to_keep}.

%% @doc The groups of neighbours that are worth merging, the oldest first, of segments in order whose number is above
%% `Settled'.
-spec some([segment()], Settled :: non_neg_integer()) -> [[segment()]].
some(Segments, Settled) ->
    groups(lists:reverse([Segment || {Number, _} = Segment <- Segments, Number > Settled]), [], 0, []).

%% From the newest to the oldest.
groups([], Group, _Sum, Groups) ->
    closed(Group, Groups);
groups([{_, Bytes} | Segments], Group, _Sum, Groups) when Bytes >= ?LARGE_BYTES ->
    groups(Segments, [], 0, closed(Group, Groups));
groups([{_, Bytes} = Segment | Segments], Group, Sum, Groups)
  when Group =:= []; Bytes =< 2 * Sum, Sum + Bytes =< 2 * ?LARGE_BYTES ->
    groups(Segments, [Segment | Group], Sum + Bytes, Groups);
groups([{_, Bytes} = Segment | Segments], Group, _Sum, Groups) ->
    groups(Segments, [Segment], Bytes, closed(Group, Groups)).

closed(Group, Groups) when length(Group) >= ?GROUP -> [Group | Groups];
closed(_Group, Groups) -> Groups.

%% @doc All of them, as one group.
-spec all([segment()]) -> [[segment()]].
all([]) -> [];
all(Segments) -> [Segments].

%% @doc The segments that {@link oldest/4} can be among, without a look into any: each cut has one segment at least.
-spec candidates([segment()], keep()) -> [segment()].
candidates(_Segments, all) -> [];
candidates(Segments, Keep) ->
    Behind = maps:get(cuts, Keep, 1) - 1,
    lists:sublist(Segments, max(0, length(Segments) - Behind)).

%% @doc The number of the oldest cut that is kept; `none' while there are no cuts before those that are kept. `CutOf' is
%% asked of few segments where only the age counts, and of as many as there are cuts to be kept otherwise.
-spec oldest([segment()], keep(), Now :: warp_core:micros(), cut_of()) -> none | pos_integer().
oldest(_Segments, all, _Now, _CutOf) -> none;
oldest(Segments, Keep, Now, CutOf) ->
    Found = [by(Key, Value, Segments, Now, CutOf) || {Key, Value} <- maps:to_list(Keep)],
    case lists:member(none, Found) of
        true -> none;
        false -> lists:min(Found)
    end.

by(cuts, Count, Segments, _Now, CutOf) ->
    by_count(lists:reverse(Segments), Count, CutOf);
by(age, Millis, Segments, Now, CutOf) ->
    All = list_to_tuple(Segments),
    case by_age(All, 0, tuple_size(All), Now - 1000 * Millis, CutOf) of
        0 -> none;
        At -> element(1, element(At, All))
    end.

by_count([], _Count, _CutOf) ->
    none;
by_count([{Number, _} = Segment | Segments], Count, CutOf) ->
    case CutOf(Segment) of
        none -> by_count(Segments, Count, CutOf);
        _ when Count =:= 1 -> Number;
        _ -> by_count(Segments, Count - 1, CutOf)
    end.

%% By halves: what stands up to `Low' is old enough, and what stands behind `High' is not.
by_age(_All, Low, High, _Limit, _CutOf) when Low >= High -> Low;
by_age(All, Low, High, Limit, CutOf) ->
    Middle = (Low + High + 1) div 2,
    case next_cut(All, Middle, High, CutOf) of
        {At, Time} when Time =< Limit -> by_age(All, At, High, Limit, CutOf);
        _ -> by_age(All, Low, Middle - 1, Limit, CutOf)
    end.

next_cut(_All, At, High, _CutOf) when At > High -> none;
next_cut(All, At, High, CutOf) ->
    case CutOf(element(At, All)) of
        none -> next_cut(All, At + 1, High, CutOf);
        Time -> {At, Time}
    end.

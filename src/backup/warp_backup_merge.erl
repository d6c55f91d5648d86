%% @private Makes larger segments of a backup's small old ones, without what was erased since. The calling process does
%% it.
%%
%% A merged segment has the number of the last one that it replaces, and takes its place; then the others are deleted.
%% Whoever is interrupted in between leaves segments that nobody reads, and that the next merge deletes.
-module(warp_backup_merge).

-export([run/5]).

-export_type([how/0, merged/0]).

%% `{some, Settled}': at most one new segment, of those behind the number up to which nothing is to be gained. `all':
%% all that can be merged, and each that has much that was erased.
-type how() :: {some, Settled :: non_neg_integer()} | all.
-type merged() :: #{
    %% How many segments were replaced.
    merged := non_neg_integer(),
    %% Up to which number nothing is to be gained.
    settled := non_neg_integer()
}.

%% More than any label has.
-define(LABEL_BYTES, 144 * 1024).
%% A segment is written again without what was erased if that is so much of it: one of so many bytes.
-define(DEAD_SHARE, 4).

-record(merging, {
    target :: warp_backup_target:open(),
    backup :: warp_nif:backup(),
    shards :: [{non_neg_integer(), warp_nif:shard(), Covered :: integer()}],
    tell :: fun(() -> term())
}).

%% @doc Merges segments up to the oldest cut that is kept. `Tell' is called after each segment that was read.
%%
%% Errors: `{shard_unavailable, N}'; `{backup_damaged, Message}' of a segment that would be merged, which stays as it
%% is; `target_in_use': another one has changed a segment meanwhile; those of the master key and of the target.
-spec run(warp_context:context(), warp_backup_run:places(), warp_backup_keep:keep(), how(), fun(() -> term())) ->
    {ok, merged()} | {error, term()}.
run(Context, #{segments := Target} = Places, Keep, How, Tell) ->
    try
        case groups(Target, ok(warp_backup_stream:numbers(Target)), Keep, How) of
            {[], _All} ->
                {ok, #{merged => 0, settled => settled(How)}};
            {Groups, All} ->
                {Backup, Covered} = opened(Places),
                Merging = #merging{target = Target, backup = Backup, shards = shards(Context, Covered), tell = Tell},
                {ok, merged(Groups, All, How, Merging)}
        end
    catch
        throw:{error, _} = Error -> Error
    end.

settled({some, Settled}) -> Settled;
settled(all) -> 0.

%% What can be said without a look into segments comes first.
groups(Target, Numbers, Keep, How) ->
    Segments = [{Number, Bytes} || {_, Number, _, Bytes} <- Numbers],
    Names = maps:from_list([{Number, {Name, Bytes}} || {_, Number, Name, Bytes} <- Numbers]),
    Of = fun(Candidates) ->
        case How of
            {some, Settled} -> lists:sublist(warp_backup_keep:some(Candidates, Settled), 1);
            all -> warp_backup_keep:all(Candidates)
        end
    end,
    Candidates = warp_backup_keep:candidates(Segments, Keep),
    CutOf = fun({Number, _}) -> cut(Target, Number, maps:get(Number, Names)) end,
    case Of(Candidates) of
        [] ->
            {[], Segments};
        _ ->
            case warp_backup_keep:oldest(Segments, Keep, os:system_time(microsecond), CutOf) of
                none -> {[], Segments};
                Oldest -> {Of([Segment || {Number, _} = Segment <- Candidates, Number =< Oldest]), Segments}
            end
    end.

cut(Target, Number, {Name, Bytes}) ->
    case warp_backup_cuts:of_segment(Target, Number, Name, Bytes) of
        {ok, {_, At}} -> At;
        {ok, none} -> none;
        not_found -> none;
        {error, _} = Error -> throw(Error)
    end.

opened(#{segments := Target, keys := Keys, master := Master}) ->
    case warp_backup_target:read(Target, <<"backup">>) of
        {ok, Object} ->
            #{number := Number} = ok(warp_nif:backup_about(Object)),
            {ok(warp_backup_master:open(Master, Object)), ok(warp_backup_stream:covered(Keys, Number))};
        not_found -> throw({error, no_backup});
        {error, _} = Error -> throw(Error)
    end.

%% In a cluster this node knows of the shards that it has which keys were erased.
shards(Context, Covered) ->
    [{N, ok(warp_context:shard(Context, N)), maps:get(N, Covered, 0)} || N <- warp_context_owners:here(Context)].

merged([], _All, How, _Merging) ->
    #{merged => 0, settled => settled(How)};
merged([Group | Groups], All, How, Merging) ->
    Numbers = [Number || {Number, _} <- Group],
    Next = next(lists:last(Numbers), All),
    Labels = labels(Numbers ++ Next, Merging),
    {Alive, Left} = alive(Numbers, Next, Labels),
    lists:foreach(fun(Number) -> deleted(Number, maps:get(Number, Labels), Merging) end, Left),
    #{merged := Count} = First = made(Alive, Labels, How, Merging),
    #{merged := More} = Rest = merged(Groups, All, How, Merging),
    #{merged => length(Left) + Count + More, settled => max(maps:get(settled, First), maps:get(settled, Rest))}.

%% What stands behind a group may have replaced all of it.
next(Last, All) -> lists:sublist([Number || {Number, _} <- All, Number > Last], 1).

labels(Numbers, Merging) ->
    maps:from_list([{Number, Label} || Number <- Numbers, {ok, Label} <- [label(Number, Merging)]]).

label(Number, #merging{target = Target}) ->
    case warp_backup_target:read(Target, warp_backup_stream:name(Number), 0, ?LABEL_BYTES) of
        {ok, Beginning} -> {ok, ok(warp_nif:segment_label(Number, Beginning))};
        not_found -> not_found;
        {error, _} = Error -> throw(Error)
    end.

%% Without those that a later one has replaced: from the last on, with the lowest number that one behind has in it.
alive(Numbers, Next, Labels) ->
    Lowest = fun(Number, Least) ->
        case Labels of
            #{Number := {First, _}} -> min(First, Least);
            #{} -> Least
        end
    end,
    {Alive, Left, _} = lists:foldr(
        fun(Number, {Alive, Left, Least}) ->
            %% Each number is less than the atom `none'.
            case Least =< Number of
                true -> {Alive, [Number | Left], Lowest(Number, Least)};
                false -> {[Number | Alive], Left, Lowest(Number, Least)}
            end
        end,
        {[], [], lists:foldl(Lowest, none, Next)}, Numbers),
    {Alive, Left}.

made(Numbers, Labels, How, Merging) ->
    filled(Numbers, new(Merging), {Labels, How, Merging}, #{merged => 0, settled => settled(How)}).

%% The segment that is being made: of which ones, the last one first, how many bytes these had, and how many of them
%% were left out.
new(#merging{backup = Backup, shards = Shards}) -> {warp_nif:merge_new(Backup, Shards), [], 0, 0}.

filled([], New, Tools, Done) ->
    stored(New, Tools, Done);
filled([Number | Numbers] = All, {Handle, Members, Bytes, Dead} = New, {_, How, Merging} = Tools, Done) ->
    Object = read(Number, Merging),
    _ = (Merging#merging.tell)(),
    case ok(warp_nif:merge_add(Handle, Number, Object)) of
        full ->
            #{settled := Settled} = Stored = stored(New, Tools, Done),
            Next = Stored#{settled := max(Settled, hd(Members))},
            case How of
                {some, _} -> Next;
                all -> filled(All, new(Merging), Tools, Next)
            end;
        LeftOut ->
            filled(Numbers, {Handle, [Number | Members], Bytes + byte_size(Object), Dead + LeftOut}, Tools, Done)
    end.

stored({Handle, Members, Bytes, Dead}, {Labels, How, Merging}, #{merged := Count} = Done) ->
    case is_worth(Members, Bytes, Dead, How) of
        true ->
            ok = replaced(Handle, Members, Labels, Merging),
            Done#{merged := Count + length(Members)};
        false ->
            Done
    end.

is_worth([_, _ | _], _Bytes, _Dead, _How) -> true;
is_worth([_], Bytes, Dead, all) -> Dead * ?DEAD_SHARE >= Bytes;
is_worth(_Members, _Bytes, _Dead, _How) -> false.

read(Number, #merging{target = Target}) ->
    case warp_backup_target:read(Target, warp_backup_stream:name(Number)) of
        {ok, Object} -> Object;
        not_found -> throw({error, target_in_use});
        {error, _} = Error -> throw(Error)
    end.

replaced(Handle, [Last | Others] = Members, Labels, #merging{target = Target} = Merging) ->
    Object = ok(warp_nif:merge_seal(Handle, os:system_time(microsecond), atom_to_binary(node()))),
    lists:foreach(fun(Number) -> ok = unchanged(Number, maps:get(Number, Labels), Merging) end, Members),
    ok = ok_of(warp_backup_target:replace(Target, warp_backup_stream:name(Last), Object)),
    lists:foreach(fun(Number) -> deleted(Number, maps:get(Number, Labels), Merging) end, Others).

%% NOTE: whoever else merges here may have put other segments into this one meanwhile.
deleted(Number, Label, #merging{target = Target} = Merging) ->
    ok = unchanged(Number, Label, Merging),
    ok = ok_of(warp_backup_target:delete(Target, warp_backup_stream:name(Number))).

unchanged(Number, Label, Merging) ->
    case label(Number, Merging) of
        {ok, Label} -> ok;
        _ -> throw({error, target_in_use})
    end.

ok({ok, Value}) -> Value;
ok({error, _} = Error) -> throw(Error).

ok_of(ok) -> ok;
ok_of({error, _} = Error) -> throw(Error).

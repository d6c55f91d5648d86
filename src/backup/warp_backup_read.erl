%% @private Reads the segments of a backup: checks them with and without keys, and restores them.
-module(warp_backup_read).

-export([check/3, load/4, segments/5]).

-export_type([segment/0]).

-type segment() :: {Stream :: non_neg_integer(), Segment :: pos_integer(), warp_backup_target:name(), integer()}.

%% @doc Looks at all of these segments without keys, one after the other: what is damaged or missing, in sentences.
%% Calls Tell with the number of segments that are done, and Each with each segment that is whole. Gives the chain, too,
%% which says what is to be read. Errors: `merged_meanwhile', and those of the target.
-spec check(warp_backup_target:open(), Backup :: non_neg_integer(),
            {[segment()], Each :: fun((segment(), binary()) -> ok | {error, term()}), fun((integer()) -> term())}) ->
    {ok, [binary()], warp_nif:chain()} | {error, term()}.
check(Target, Backup, {Segments, Each, Tell}) ->
    check(Segments, Target, Backup, {warp_nif:chain_new(), Each, Tell}, {0, []}).

check([], _Target, _Backup, {Chain, _, _}, {_, Damage}) ->
    %% What does not open leaves a gap, which needs no sentence of its own.
    {ok, lists:reverse(Damage) ++ [Break || Damage =:= [], Break <- warp_nif:chain_breaks(Chain)], Chain};
check([{_, Number, Name, _} = Segment | Segments], Target, Backup, {Chain, Each, Tell} = Tools, {Done, Damage}) ->
    Next = fun(More) ->
        _ = Tell(Done + 1),
        check(Segments, Target, Backup, Tools, {Done + 1, lists:reverse(More) ++ Damage})
    end,
    case warp_backup_target:read(Target, Name) of
        {ok, Bytes} ->
            case warp_nif:chain_add(Chain, Backup, Number, Bytes) of
                {ok, {_, _, _, _, []}} ->
                    case Each(Segment, Bytes) of
                        ok -> Next([]);
                        {error, Why} -> Next([text(Why)])
                    end;
                {ok, {_, _, _, _, Found}} -> Next(Found);
                {error, Why} -> Next([text(Why)])
            end;
        not_found ->
            {error, merged_meanwhile};
        {error, _} = Error ->
            Error
    end.

text({backup_damaged, Message}) -> Message;
text({newer_format, Object, Version}) ->
    <<Object/binary, " has format ", (integer_to_binary(Version))/binary, ", which this Warp does not know">>;
text({_, Message}) when is_binary(Message) -> Message;
text(Why) -> unicode:characters_to_binary(warp_error:format_error(Why)).

%% @doc Gives a restore all key pages, and all that the segments say of erased keys, and looks at the segments. Gives
%% those that a cut is made of: without those that were merged into others. Errors: `{backup_damaged, Message}';
%% `merged_meanwhile'; those of the targets.
-spec load(warp_nif:restoring(), Segments :: warp_backup_target:open(), Keys :: warp_backup_target:open(),
           {Backup :: non_neg_integer(), [segment()], Cut :: pos_integer(), fun((integer()) -> term())}) ->
    {ok, [segment()]} | {error, term()}.
load(Restoring, Target, KeysTarget, {Backup, Segments, Cut, Tell}) ->
    Erased = fun({_, Number, _, _}, Bytes) -> done(warp_nif:restore_erased(Restoring, Number, Bytes)) end,
    case check(Target, Backup, {Segments, Erased, Tell}) of
        {ok, [], Chain} ->
            Used = maps:from_keys(warp_nif:chain_used(Chain, Cut), used),
            case pages(Restoring, KeysTarget) of
                ok -> {ok, [Segment || {_, Number, _, _} = Segment <- Segments, is_map_key(Number, Used)]};
                {error, _} = Error -> Error
            end;
        {ok, Damage, _} -> {error, {backup_damaged, unicode:characters_to_binary(lists:join("; ", Damage))}};
        {error, _} = Error -> Error
    end.

pages(Restoring, Target) ->
    case warp_backup_stream:pages(Target) of
        {ok, []} -> no_pages(warp_backup_target:read(Target, warp_backup_stream:index()));
        {ok, Pages} -> until_error(fun(Page) -> page(Page, Restoring, Target) end, Pages);
        {error, _} = Error -> Error
    end.

%% A context without any entity has none.
no_pages({ok, _}) -> ok;
no_pages(not_found) -> {error, no_keys};
no_pages({error, _} = Error) -> Error.

page({Shard, Page, Name}, Restoring, Target) ->
    case warp_backup_target:read(Target, Name) of
        {ok, Bytes} -> done(warp_nif:restore_page(Restoring, Shard, Page, Bytes));
        not_found -> {error, {backup_damaged, <<Name/binary, " went away while it was read">>}};
        {error, _} = Error -> Error
    end.

done({ok, done}) -> ok;
done({error, _} = Error) -> Error.

%% @doc Restores segments, or opens all that is in them: how many rows and events they have, how many lives were erased
%% since, and how many rows have events that were cleared since. A segment is read and opened while the one before is
%% written: so two of them are in memory. Errors: those of the target and of the files; `{backup_damaged, Message}';
%% `{key_unknown, Message}'; `merged_meanwhile'.
-spec segments(warp_nif:restoring(), warp_backup_target:open(), [segment()], restore | check,
               fun((integer(), map()) -> term())) -> {ok, map()} | {error, term()}.
segments(Restoring, Target, Segments, How, Tell) ->
    Read = fun(Segment) -> read(Segment, Restoring, Target, How) end,
    Nothing = #{rows => 0, events => 0, erased => 0, cleared => 0},
    each(ahead(Segments, Read), {Restoring, Read, Tell}, 0, Nothing).

each(none, _Tools, _Done, Counts) ->
    {ok, Counts};
each({{_, Monitor}, Rest}, {Restoring, Read, Tell} = Tools, Done, Counts) ->
    case receive {'DOWN', Monitor, process, _, Ended} -> Ended end of
        {read, {ok, {Of, Segment}}} ->
            Next = ahead(Rest, Read),
            case written(Restoring, Segment) of
                ok ->
                    Sum = sum(Of, Counts),
                    _ = Tell(Done + 1, Sum),
                    each(Next, Tools, Done + 1, Sum);
                {error, _} = Error ->
                    stop(Next),
                    Error
            end;
        {read, {error, _} = Error} ->
            Error;
        Crash ->
            exit(Crash)
    end.

%% Has the first of these read by a process of its own, whose end is the answer: what it has read goes with it.
ahead([], _Read) -> none;
ahead([Segment | Rest], Read) -> {spawn_monitor(fun() -> exit({read, Read(Segment)}) end), Rest}.

stop(none) ->
    ok;
stop({{Pid, Monitor}, _}) ->
    true = demonitor(Monitor, [flush]),
    true = exit(Pid, kill),
    ok.

read({_, Number, Name, _}, Restoring, Target, How) ->
    case {warp_backup_target:read(Target, Name), How} of
        {{ok, Bytes}, restore} -> warp_nif:restore_open(Restoring, Number, Bytes);
        {{ok, Bytes}, check} -> only_counts(warp_nif:restore_check(Restoring, Number, Bytes));
        {not_found, _} -> {error, merged_meanwhile};
        {{error, _} = Error, _} -> Error
    end.

only_counts({ok, Counts}) -> {ok, {Counts, none}};
only_counts({error, _} = Error) -> Error.

written(_Restoring, none) -> ok;
written(Restoring, Segment) -> warp_nif:restore_write(Restoring, Segment).

sum({Rows, Events, Erased, Cleared}, #{rows := R, events := E, erased := X, cleared := C}) ->
    #{rows => R + Rows, events => E + Events, erased => X + Erased, cleared => C + Cleared}.

until_error(_Fun, []) -> ok;
until_error(Fun, [First | Rest]) ->
    case Fun(First) of
        ok -> until_error(Fun, Rest);
        {error, _} = Error -> Error
    end.

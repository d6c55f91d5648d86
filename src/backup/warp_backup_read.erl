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
    Chain = warp_nif:chain_new(),
    Read = fun({_, _, Name, _} = Segment) -> {Segment, warp_backup_target:read(Target, Name)} end,
    Look = fun
        ({Segment, {ok, Bytes}}, {Done, Damage}) ->
            More = looked(Chain, Backup, Segment, Bytes, Each),
            _ = Tell(Done + 1),
            {ok, {Done + 1, lists:reverse(More, Damage)}};
        ({_, not_found}, _) ->
            {error, merged_meanwhile};
        ({_, {error, _} = Error}, _) ->
            Error
    end,
    case in_turn(Segments, Read, Look, {0, []}) of
        {ok, {_, Damage}} ->
            %% What does not open leaves a gap, which needs no sentence of its own.
            {ok, lists:reverse(Damage) ++ [Break || Damage =:= [], Break <- warp_nif:chain_breaks(Chain)], Chain};
        {error, _} = Error ->
            Error
    end.

%% What is wrong with a segment.
looked(Chain, Backup, {_, Number, _, _} = Segment, Bytes, Each) ->
    case warp_nif:chain_add(Chain, Backup, Number, Bytes) of
        {ok, {_, _, _, _, []}} ->
            case Each(Segment, Bytes) of
                ok -> [];
                {error, Why} -> [text(Why)]
            end;
        {ok, {_, _, _, _, Found}} -> Found;
        {error, Why} -> [text(Why)]
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
    Write = fun
        ({ok, {Of, Segment}}, {Done, Counts}) ->
            case written(Restoring, Segment) of
                ok ->
                    Sum = sum(Of, Counts),
                    _ = Tell(Done + 1, Sum),
                    {ok, {Done + 1, Sum}};
                {error, _} = Error ->
                    Error
            end;
        ({error, _} = Error, _) ->
            Error
    end,
    case in_turn(Segments, Read, Write, {0, #{rows => 0, events => 0, erased => 0, cleared => 0}}) of
        {ok, {_, Counts}} -> {ok, Counts};
        {error, _} = Error -> Error
    end.

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

%% Takes what is read of each of these, in order. The next one is read meanwhile, by a process of its own whose end is
%% the answer. One at a time: a target need not answer two at once.
in_turn(Segments, Read, Take, State) -> in_turn(ahead(Segments, Read), {Read, Take}, State).

in_turn(none, _Tools, State) ->
    {ok, State};
in_turn({{_, Monitor}, Rest}, {Read, Take} = Tools, State) ->
    case receive {'DOWN', Monitor, process, _, Ended} -> Ended end of
        {read, Found} ->
            Next = ahead(Rest, Read),
            try Take(Found, State) of
                {ok, Taken} -> in_turn(Next, Tools, Taken);
                {error, _} = Error -> stop(Next), Error
            catch
                Class:Why:Stack -> stop(Next), erlang:raise(Class, Why, Stack)
            end;
        Crash ->
            exit(Crash)
    end.

-dialyzer({nowarn_function, ahead/2}).
ahead([], _Read) -> none;
ahead([Segment | Rest], Read) -> {spawn_monitor(fun() -> exit({read, Read(Segment)}) end), Rest}.

stop(none) ->
    ok;
stop({{Pid, Monitor}, _}) ->
    true = demonitor(Monitor, [flush]),
    true = exit(Pid, kill),
    ok.

until_error(_Fun, []) -> ok;
until_error(Fun, [First | Rest]) ->
    case Fun(First) of
        ok -> until_error(Fun, Rest);
        {error, _} = Error -> Error
    end.
